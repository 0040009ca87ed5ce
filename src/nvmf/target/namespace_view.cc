#include "nvmf/target/namespace_view.h"

#include <algorithm>
#include <atomic>
#include <utility>

#include "base/abandonment.h"

namespace cairn::nvmf::target {

namespace {

// One sequence for all views of the process: a version names its view, too.
uint64_t next_version() {
  static std::atomic<uint64_t> last{0};
  return last.fetch_add(1, std::memory_order_relaxed) + 1;
}

}  // namespace

NamespaceView::NamespaceView(uint32_t nsid, std::unique_ptr<block::Channel> channel)
    : nsid_(nsid),
      channel_(std::move(channel)),
      access_(std::make_shared<const AccessTable>()),
      access_version_(next_version()) {}

NamespaceView::~NamespaceView() {
  CAIRN_CHECK((in_epoch_[0] == 0 && in_epoch_[1] == 0 && !applying_) || abandoning());
}

void NamespaceView::enter(Request& request) {
  CAIRN_CHECK(request.view == nullptr);
  request.view = this;
  request.access_epoch = epoch_;
  ++in_epoch_[epoch_ & 1];
}

void NamespaceView::leave(Request& request) {
  CAIRN_CHECK(request.view == this);
  request.view = nullptr;
  uint32_t& count = in_epoch_[request.access_epoch & 1];
  CAIRN_CHECK(count > 0);
  if (--count == 0 && request.access_epoch != epoch_) epoch_left_.pulse();
}

runtime::Task<> NamespaceView::apply(Decision decision) {
  CAIRN_CHECK(decision.access != nullptr);
  while (applying_) co_await applied_.wait_uninterrupted();
  applying_ = true;

  access_ = std::move(decision.access);
  ana_state_ = decision.ana_state;
  removed_ = decision.removed;
  access_version_ = next_version();
  // The epoch before the present one is empty: the apply() that began the present one waited for that.
  const uint32_t old_epoch = epoch_++;
  while (in_epoch_[old_epoch & 1] > 0) co_await epoch_left_.wait_uninterrupted();

  applying_ = false;
  applied_.pulse();
}

void SubsystemView::remove(uint32_t nsid) {
  std::erase_if(namespaces_, [nsid](const auto& view) { return view->nsid() == nsid; });
}

}  // namespace cairn::nvmf::target
