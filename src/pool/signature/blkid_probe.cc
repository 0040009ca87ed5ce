#include "pool/signature/blkid_probe.h"

#include <blkid/blkid.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <memory>

#include "pool/format/page.h"
#include "runtime/file_descriptor.h"

namespace cairn::pool {
namespace {

struct FreeProbe {
  void operator()(blkid_probe probe) const { blkid_free_probe(probe); }
};
using Probe = std::unique_ptr<std::remove_pointer_t<blkid_probe>, FreeProbe>;

// Zeroes are there already: pages of them are left out.
Result<> write_all(int fd, std::span<const std::byte> bytes, uint64_t offset) {
  while (!bytes.empty()) {
    const auto piece = bytes.first(std::min<size_t>(bytes.size(), format::kPageSize));
    size_t done = piece.size();
    if (piece.size() < format::kPageSize || !format::is_blank(piece.first<format::kPageSize>())) {
      const ssize_t written = ::pwrite(fd, piece.data(), piece.size(), static_cast<off_t>(offset));
      if (written < 0 && errno == EINTR) continue;
      if (written <= 0) return fail(Error::from_errno(errno, "copy of a device's ends"));
      done = static_cast<size_t>(written);
    }
    bytes = bytes.subspan(done);
    offset += done;
  }
  return {};
}

// A file in memory with the device's size, ends and holes between them.
Result<runtime::FileDescriptor> make_image(std::span<const std::byte> head, std::span<const std::byte> tail,
                                           uint64_t device_bytes) {
  runtime::FileDescriptor fd(::memfd_create("signatures", MFD_CLOEXEC));
  if (!fd.valid()) return fail(Error::from_errno(errno, "memfd_create"));
  if (::ftruncate(fd.get(), static_cast<off_t>(device_bytes)) != 0) {
    return fail(Error::from_errno(errno, fmt::format("image of {} bytes", device_bytes)));
  }
  if (auto done = write_all(fd.get(), head, 0); !done) return fail(std::move(done.error()));
  if (auto done = write_all(fd.get(), tail, device_bytes - tail.size()); !done) return fail(std::move(done.error()));
  return fd;
}

std::string_view value_of(blkid_probe probe, const char* name) {
  const char* data = nullptr;
  size_t size = 0;
  if (blkid_probe_lookup_value(probe, name, &data, &size) != 0 || data == nullptr) return {};
  const std::string_view value(data, size);
  return value.substr(0, value.find('\0'));
}

uint64_t number_of(blkid_probe probe, const char* name) {
  const std::string_view text = value_of(probe, name);
  uint64_t number = 0;
  std::from_chars(text.data(), text.data() + text.size(), number);
  return number;
}

Signature::Kind kind_of(std::string_view usage) {
  if (usage == "filesystem") return Signature::Kind::kFileSystem;
  if (usage == "raid") return Signature::Kind::kRaid;
  if (usage == "crypto") return Signature::Kind::kEncryption;
  return Signature::Kind::kOther;
}

Signature found_by(blkid_probe probe) {
  const std::string_view table = value_of(probe, "PTTYPE");
  if (!table.empty()) {
    return {.kind = Signature::Kind::kPartitionTable,
            .type = std::string(table),
            .uuid = std::string(value_of(probe, "PTUUID")),
            .offset = number_of(probe, "PTMAGIC_OFFSET")};
  }
  return {.kind = kind_of(value_of(probe, "USAGE")),
          .type = std::string(value_of(probe, "TYPE")),
          .label = std::string(value_of(probe, "LABEL")),
          .uuid = std::string(value_of(probe, "UUID")),
          .offset = number_of(probe, "SBMAGIC_OFFSET")};
}

}  // namespace

Result<std::vector<Signature>> probe_with_blkid(std::span<const std::byte> head, std::span<const std::byte> tail,
                                                uint64_t device_bytes, uint32_t block_size) {
  auto image = make_image(head, tail, device_bytes);
  if (!image) return fail(std::move(image.error()));
  const Probe probe(blkid_new_probe());
  if (probe == nullptr) return fail(Code::kInternal, "libblkid: no memory");
  if (blkid_probe_set_sectorsize(probe.get(), block_size) != 0 ||
      blkid_probe_set_device(probe.get(), image->get(), 0, static_cast<blkid_loff_t>(device_bytes)) != 0 ||
      blkid_probe_enable_superblocks(probe.get(), 1) != 0 ||
      blkid_probe_set_superblocks_flags(probe.get(), BLKID_SUBLKS_LABEL | BLKID_SUBLKS_UUID | BLKID_SUBLKS_TYPE |
                                                         BLKID_SUBLKS_USAGE | BLKID_SUBLKS_MAGIC |
                                                         BLKID_SUBLKS_BADCSUM) != 0 ||
      blkid_probe_enable_partitions(probe.get(), 1) != 0 ||
      blkid_probe_set_partitions_flags(probe.get(), BLKID_PARTS_MAGIC | BLKID_PARTS_FORCE_GPT) != 0) {
    return fail(Code::kInternal, fmt::format("libblkid: cannot examine an image of {} bytes", device_bytes));
  }
  std::vector<Signature> found;
  constexpr size_t kEnough = 32;
  while (found.size() < kEnough) {
    const int outcome = blkid_do_probe(probe.get());
    if (outcome == 1) break;
    if (outcome < 0) return fail(Code::kInternal, "libblkid: examination failed");
    Signature signature = found_by(probe.get());
    if (std::ranges::find(found, signature) == found.end()) found.push_back(std::move(signature));
  }
  return found;
}

}  // namespace cairn::pool
