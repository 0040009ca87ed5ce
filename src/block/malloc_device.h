// malloc:///name: a disk in memory, for tests and scratch data. All I/O completes inside submit().
#pragma once

namespace cairn::block {

class Registry;

// ?size_mb=N or ?num_blocks=N, blk_size=512|4096, uuid=U, resize (changes the size of the device if it exists).
void add_malloc_scheme(Registry& registry);

}  // namespace cairn::block
