// A doubly linked list whose links live in its elements: no allocation to insert or remove.
//
// Invariants: an element is in at most one list per link; a linked element must be removed before it is destroyed
// (checked, except inside an AbandonScope, where whatever dies first lets go of the other). Not thread safe; a list
// belongs to one reactor.
#pragma once

#include <cstddef>

#include "base/abandonment.h"
#include "base/check.h"

namespace cairn {

// Base class of an element. `Tag` tells several links of one element apart.
template <typename Tag = void>
class ListLink {
 public:
  ListLink() = default;
  ListLink(const ListLink&) = delete;
  ListLink& operator=(const ListLink&) = delete;
  ~ListLink() {
    if (!is_linked()) return;
    CAIRN_CHECK(abandoning());
    unlink();
  }

  bool is_linked() const { return next_ != nullptr; }

  // Takes the element out of whatever list holds it; does nothing when none does.
  void unlink() {
    if (!is_linked()) return;
    prev_->next_ = next_;
    next_->prev_ = prev_;
    next_ = prev_ = nullptr;
  }

 private:
  template <typename, typename>
  friend class IntrusiveList;
  ListLink* next_ = nullptr;
  ListLink* prev_ = nullptr;
};

// Does not own its elements. T must derive from ListLink<Tag>.
template <typename T, typename Tag = void>
class IntrusiveList {
  using Link = ListLink<Tag>;

 public:
  IntrusiveList() { head_.next_ = head_.prev_ = &head_; }
  IntrusiveList(const IntrusiveList&) = delete;
  IntrusiveList& operator=(const IntrusiveList&) = delete;
  ~IntrusiveList() {
    CAIRN_CHECK(empty() || abandoning());
    while (!empty()) static_cast<Link*>(head_.next_)->unlink();
    head_.next_ = head_.prev_ = nullptr;
  }

  bool empty() const { return head_.next_ == &head_; }
  // Without a look at the elements, which may be gone: only of a list that is empty, or of an abandoned process.
  void forget() {
    CAIRN_CHECK(empty() || abandoning());
    head_.next_ = head_.prev_ = &head_;
  }
  T& front() { return element(head_.next_); }
  T& back() { return element(head_.prev_); }

  void push_back(T& value) { insert_before(head_, value); }
  void push_front(T& value) { insert_before(*head_.next_, value); }

  // nullptr when empty.
  T* pop_front() {
    if (empty()) return nullptr;
    T& value = front();
    static_cast<Link&>(value).unlink();
    return &value;
  }

  // Moves every element of `other` to the end of this list, in order.
  void splice_back(IntrusiveList& other) {
    if (other.empty()) return;
    Link* first = other.head_.next_;
    Link* last = other.head_.prev_;
    other.head_.next_ = other.head_.prev_ = &other.head_;
    first->prev_ = head_.prev_;
    head_.prev_->next_ = first;
    last->next_ = &head_;
    head_.prev_ = last;
  }

  // The element after `value`, nullptr at the end. Lets a loop remove the current element.
  T* next(T& value) {
    Link* link = static_cast<Link&>(value).next_;
    return link == &head_ ? nullptr : &element(link);
  }
  T* first() { return empty() ? nullptr : &front(); }

  // Linear.
  size_t size() const {
    size_t count = 0;
    for (const Link* link = head_.next_; link != &head_; link = link->next_) ++count;
    return count;
  }

  class Iterator {
   public:
    explicit Iterator(Link* link) : link_(link) {}
    T& operator*() const { return static_cast<T&>(*link_); }
    T* operator->() const { return &**this; }
    Iterator& operator++() {
      link_ = IntrusiveList::next_link(link_);
      return *this;
    }
    bool operator==(const Iterator&) const = default;

   private:
    friend class IntrusiveList;
    Link* link_;
  };
  // The loop body must not remove the current element; use first() and next() for that.
  Iterator begin() { return Iterator(head_.next_); }
  Iterator end() { return Iterator(&head_); }

 private:
  static Link* next_link(Link* link) { return link->next_; }
  static T& element(Link* link) { return static_cast<T&>(*link); }
  static void insert_before(Link& position, T& value) {
    Link& link = value;
    CAIRN_CHECK(!link.is_linked());
    link.next_ = &position;
    link.prev_ = position.prev_;
    position.prev_->next_ = &link;
    position.prev_ = &link;
  }

  Link head_;
};

}  // namespace cairn
