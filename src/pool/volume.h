// What a pool knows about one volume (a blob): a replica, a snapshot or a clone. Home reactor.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "pool/cluster_map.h"
#include "pool/format/blob_metadata.h"
#include "pool/format/lvol_attributes.h"

namespace cairn::pool {

class Replica;

struct Volume {
  format::BlobMetadata metadata;
  format::LvolAttributes attributes;  // what `metadata` says
  std::vector<uint32_t> chain_pages;  // metadata pages after the root, in order
  std::shared_ptr<ClusterMap> map;
  Volume* parent = nullptr;       // the snapshot that unallocated clusters are read from
  std::vector<Volume*> children;  // whose parent this is
  Replica* replica = nullptr;     // the device, while the block registry has it
  bool removing = false;          // its metadata is about to go

  uint64_t num_clusters() const { return map->size(); }
  bool thin() const { return metadata.flags.thin(); }
  bool read_only() const { return metadata.read_only(); }

  format::BlobId id() const { return metadata.id; }
  uint32_t root_page() const { return format::root_page_of(metadata.id); }
  bool is_snapshot() const { return attributes.snapshot.has_value(); }
  uint64_t allocated_clusters() const { return thin() ? map->allocated() : map->size(); }

  // The cluster that a read of `index` goes to; 0: it reads as zeroes. A volume may be larger than what it was made of,
  // and hides then what lies further down.
  uint32_t visible(uint64_t index) const {
    for (const Volume* volume = this; volume != nullptr && index < volume->num_clusters(); volume = volume->parent) {
      if (const uint32_t cluster = volume->map->at(index); cluster != 0) return cluster;
    }
    return 0;
  }
  // The same for a cluster that this volume itself has not allocated.
  uint32_t inherited(uint64_t index) const { return parent == nullptr ? 0 : parent->visible(index); }

  std::shared_ptr<const MapChain> make_chain() const {
    auto chain = std::make_shared<MapChain>();
    chain->own = map;
    chain->thin = thin();
    for (const Volume* ancestor = parent; ancestor != nullptr; ancestor = ancestor->parent) {
      chain->ancestors.push_back(ancestor->map);
    }
    return chain;
  }
};

// For maps of volumes: an order that is the same in every run.
struct ByBlobId {
  bool operator()(const Volume* a, const Volume* b) const { return a->id() < b->id(); }
};

}  // namespace cairn::pool
