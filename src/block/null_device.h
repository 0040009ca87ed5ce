// null:///name: takes every write and keeps nothing; reads give zeroes. For measuring everything around a disk.
#pragma once

namespace cairn::block {

class Registry;

// ?size_mb=N or ?num_blocks=N, blk_size=512|4096, uuid=U.
void add_null_scheme(Registry& registry);

}  // namespace cairn::block
