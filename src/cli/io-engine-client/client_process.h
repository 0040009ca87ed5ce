// Runs the client's binary as a user would.
#pragma once

#include <string>
#include <vector>

namespace cairn::cli {

struct Finished {
  int exit_code = -1;
  std::string out;
  std::string err;
};

// Runs io-engine-client from the folder of this program and waits for its end. `environment` ("NAME=value") is all that
// the process gets. Standard output goes to the file `stdout_path` if that is given.
Finished run_client(const std::vector<std::string>& arguments, const std::vector<std::string>& environment = {},
                    const std::string& stdout_path = "");

}  // namespace cairn::cli
