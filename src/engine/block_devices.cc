#include "engine/block_devices.h"

#include <fmt/format.h>
#include <libmount/libmount.h>
#include <libudev.h>

#include <algorithm>
#include <charconv>
#include <map>
#include <memory>
#include <sstream>

namespace cairn::engine {

namespace {

template <auto Release>
struct Releaser {
  template <typename T>
  void operator()(T* object) const {
    Release(object);
  }
};
using Udev = std::unique_ptr<udev, Releaser<udev_unref>>;
using UdevDevice = std::unique_ptr<udev_device, Releaser<udev_device_unref>>;
using UdevEnumerate = std::unique_ptr<udev_enumerate, Releaser<udev_enumerate_unref>>;
using MountTable = std::unique_ptr<libmnt_table, Releaser<mnt_unref_table>>;
using MountIterator = std::unique_ptr<libmnt_iter, Releaser<mnt_free_iter>>;

struct Mounts {
  std::vector<std::string> points;
  std::string type;  // of the first
};
using MountsByDevice = std::map<dev_t, Mounts>;

std::string text(const char* value) {
  return value == nullptr ? "" : value;
}

uint64_t parse_number(const std::string& digits) {
  uint64_t value = 0;
  std::from_chars(digits.data(), digits.data() + digits.size(), value);
  return value;
}

Result<MountsByDevice> read_mounts() {
  const MountTable table(mnt_new_table());
  if (table == nullptr) return fail(Error::from_errno(ENOMEM, "mount table"));
  if (const int result = mnt_table_parse_mtab(table.get(), nullptr); result != 0) {
    return fail(Error::from_errno(result < 0 ? -result : EIO, "cannot read the mount table"));
  }
  MountsByDevice mounts;
  const MountIterator iterator(mnt_new_iter(MNT_ITER_FORWARD));
  libmnt_fs* filesystem = nullptr;
  while (mnt_table_next_fs(table.get(), iterator.get(), &filesystem) == 0) {
    Mounts& entry = mounts[mnt_fs_get_devno(filesystem)];
    if (entry.points.empty()) entry.type = text(mnt_fs_get_fstype(filesystem));
    entry.points.push_back(text(mnt_fs_get_target(filesystem)));
  }
  return mounts;
}

BlockDevice describe(udev_device* device, const MountsByDevice& mounts) {
  auto property = [&](const char* name) { return text(udev_device_get_property_value(device, name)); };
  BlockDevice out;
  out.devname = property("DEVNAME");
  out.devtype = property("DEVTYPE");
  out.devmajor = static_cast<uint32_t>(parse_number(property("MAJOR")));
  out.devminor = static_cast<uint32_t>(parse_number(property("MINOR")));
  out.model = property("ID_MODEL");
  out.devpath = property("DEVPATH");
  std::istringstream links(property("DEVLINKS"));
  for (std::string link; links >> link;) out.devlinks.push_back(link);
  out.size_sectors = parse_number(text(udev_device_get_sysattr_value(device, "size")));
  out.connection_type = property("ID_BUS");
  if (const char* rotational = udev_device_get_sysattr_value(device, "queue/rotational"))
    out.is_rotational = text(rotational) == "1";

  BlockDevice::Filesystem filesystem{property("ID_FS_TYPE"), property("ID_FS_LABEL"), property("ID_FS_UUID"), {}};
  if (const auto mounted = mounts.find(udev_device_get_devnum(device)); mounted != mounts.end()) {
    filesystem.mountpoints = mounted->second.points;
    if (filesystem.type.empty()) filesystem.type = mounted->second.type;
  }
  if (!filesystem.type.empty() || !filesystem.label.empty() || !filesystem.uuid.empty() ||
      !filesystem.mountpoints.empty()) {
    out.filesystem = std::move(filesystem);
  }
  return out;
}

// Block devices of a type, children of `parent` when given.
std::vector<UdevDevice> enumerate(udev* context, const char* type, udev_device* parent) {
  const UdevEnumerate list(udev_enumerate_new(context));
  udev_enumerate_add_match_subsystem(list.get(), "block");
  udev_enumerate_add_match_property(list.get(), "DEVTYPE", type);
  if (parent != nullptr) udev_enumerate_add_match_parent(list.get(), parent);
  udev_enumerate_scan_devices(list.get());
  std::vector<UdevDevice> devices;
  udev_list_entry* entry = nullptr;
  udev_list_entry_foreach(entry, udev_enumerate_get_list_entry(list.get())) {
    // A device that vanished since the scan is no longer there to list.
    if (UdevDevice device(udev_device_new_from_syspath(context, udev_list_entry_get_name(entry))); device != nullptr) {
      devices.push_back(std::move(device));
    }
  }
  return devices;
}

}  // namespace

bool is_available(const BlockDevice& device, bool has_partitions) {
  const uint32_t major = device.devmajor;
  const bool known_major = major == 7 || major == 8 || major == 43 || (major >= 240 && major <= 255) || major == 259;
  const bool ours = device.model == "Mayastor NVMe controller" || device.model == "Nexus_CAS_Driver";
  if (has_partitions || device.size_sectors == 0 || ours || !known_major || device.filesystem) return false;
  if (!device.partition) return true;
  return (device.partition->scheme == "gpt" && device.partition->type_id == "0fc63daf-8483-4772-8e79-3d69d8477de4") ||
         (device.partition->scheme == "dos" && device.partition->type_id == "0x83");
}

Result<std::vector<BlockDevice>> list_block_devices(bool all) {
  const Udev context(udev_new());
  if (context == nullptr) return fail(Error::from_errno(ENOMEM, "cannot use udev"));
  auto mounts = read_mounts();
  if (!mounts) return fail(std::move(mounts.error()));

  std::vector<BlockDevice> list;
  auto add = [&](BlockDevice device, bool has_partitions) {
    device.available = is_available(device, has_partitions);
    if (all || device.available) list.push_back(std::move(device));
  };
  for (const UdevDevice& disk : enumerate(context.get(), "disk", nullptr)) {
    const auto partitions = enumerate(context.get(), "partition", disk.get());
    BlockDevice description = describe(disk.get(), *mounts);
    const std::string parent = description.devname;
    add(std::move(description), !partitions.empty());
    for (const UdevDevice& partition : partitions) {
      BlockDevice part = describe(partition.get(), *mounts);
      auto property = [&](const char* name) { return text(udev_device_get_property_value(partition.get(), name)); };
      part.partition = BlockDevice::Partition{parent,
                                              static_cast<uint32_t>(parse_number(property("PARTN"))),
                                              property("PARTNAME"),
                                              property("ID_PART_ENTRY_SCHEME"),
                                              property("ID_PART_ENTRY_TYPE"),
                                              property("ID_PART_ENTRY_UUID")};
      add(std::move(part), false);
    }
  }
  return list;
}

}  // namespace cairn::engine
