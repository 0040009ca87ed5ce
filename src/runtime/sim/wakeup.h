// Something that wants to be called in the next round of its reactor.
#pragma once

#include "base/intrusive_list.h"

namespace cairn::runtime::sim {

class Wakeup : public ListLink<> {
 public:
  virtual void run() = 0;

 protected:
  ~Wakeup() = default;
};

}  // namespace cairn::runtime::sim
