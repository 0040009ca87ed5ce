#include "nvmf/host/nvme_channel.h"

#include "nvmf/host/nvme_device.h"

namespace cairn::nvmf::host {

using block::DriverArea;
using block::IoType;

NvmeChannel::NvmeChannel(std::shared_ptr<NvmeDevice> device, Lane& lane)
    : Channel(std::shared_ptr<block::Device>(device, device.get())), lane_(lane) {}

void NvmeChannel::start(block::Io& io) {
  const NamespaceInfo& ns = lane_.namespace_info();
  if (io.type == IoType::kCompareAndWrite && io.num_blocks > ns.max_fused_blocks) return emulate(io);
  if (io.type == IoType::kCopy) {
    // What the controller makes of ranges that overlap is its own business.
    const uint64_t distance = io.lba > io.source_lba ? io.lba - io.source_lba : io.source_lba - io.lba;
    if (distance < io.num_blocks) return emulate(io);
  }
  lane_.start(DriverArea::construct<IoCommand>(io, *this, io, lane_.io_timeout_ms(), lane_.prinfo()));
}

void NvmeChannel::end(IoCommand& command, nvme::Status status) {
  block::Io& io = command.io;
  DriverArea::destroy<IoCommand>(io);
  finish(io, status);
}

}  // namespace cairn::nvmf::host
