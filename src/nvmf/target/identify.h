// The data structures of Identify (NVMe Base 2.0, section 5.17), made from options, subsystem and device. Primary
// reactor.
#pragma once

#include <cstdint>

#include "nvme/identify_controller.h"
#include "nvme/identify_namespace.h"

namespace cairn::nvmf::target {

class Controller;
class Namespace;

// OAES: which optional events there are. All of them are configured to be sent when a controller starts.
uint32_t optional_events(Controller& controller);

nvme::IdentifyController identify_controller(Controller& controller);
nvme::IdentifyNvmController identify_nvm_controller(Controller& controller);
nvme::IdentifyNamespace identify_namespace(Controller& controller, Namespace& described);
nvme::IdentifyIndependentNamespace identify_independent_namespace(Controller& controller, Namespace& described);

}  // namespace cairn::nvmf::target
