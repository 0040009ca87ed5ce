#include "runtime/kernel_reactor_test.h"

#include "runtime/epoll_backend.h"
#include "runtime/uring_backend.h"

namespace cairn::runtime {

namespace {

BackendVariant uring_variant(std::string name, const UringOptions& options) {
  return {std::move(name), [options]() -> std::unique_ptr<Backend> {
            auto backend = UringBackend::create(options, std::make_shared<BlockingPool>());
            CAIRN_CHECK(backend.has_value());
            return std::move(*backend);
          }};
}

}  // namespace

void PrintTo(const BackendVariant& variant, std::ostream* out) {
  *out << variant.name;
}

std::vector<BackendVariant> kernel_backend_variants() {
  UringOptions plain;
  plain.single_issuer = plain.cooperative_task_work = plain.buffer_ring = plain.multishot_accept = false;
  plain.registered_buffers = plain.ring_messages = false;
  plain.hot_streams = 0;
  UringOptions small;
  small.submission_entries = 4;
  small.completion_entries = 8;
  small.receive_buffers = 2;
  small.receive_buffer_bytes = 4096;
  return {
      uring_variant("uring", {}),
      uring_variant("uring_without_single_issuer", {.single_issuer = false}),
      uring_variant("uring_without_cooperative_task_work", {.single_issuer = false, .cooperative_task_work = false}),
      uring_variant("uring_without_buffer_ring", {.buffer_ring = false}),
      uring_variant("uring_without_multishot_accept", {.multishot_accept = false}),
      uring_variant("uring_without_registered_buffers", {.registered_buffers = false}),
      uring_variant("uring_without_hot_streams", {.hot_streams = 0}),
      uring_variant("uring_without_ring_messages", {.ring_messages = false}),
      uring_variant("uring_plain", plain),
      uring_variant("uring_small", small),
      {"epoll",
       []() -> std::unique_ptr<Backend> {
         auto backend = EpollBackend::create(std::make_shared<BlockingPool>());
         CAIRN_CHECK(backend.has_value());
         return std::move(*backend);
       }},
  };
}

}  // namespace cairn::runtime
