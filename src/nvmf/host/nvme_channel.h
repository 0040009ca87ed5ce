// A user's way to a remote namespace on one reactor. The queue pairs are the Lane's, which all channels of the reactor
// share.
#pragma once

#include <memory>

#include "block/channel.h"
#include "nvmf/host/lane.h"

namespace cairn::nvmf::host {

class NvmeDevice;

class NvmeChannel final : public block::Channel {
 public:
  NvmeChannel(std::shared_ptr<NvmeDevice> device, Lane& lane);

  Lane& lane() const { return lane_; }
  // The end of an I/O that the lane has had.
  void end(IoCommand& command, nvme::Status status);

 protected:
  void start(block::Io& io) override;

 private:
  Lane& lane_;
};

}  // namespace cairn::nvmf::host
