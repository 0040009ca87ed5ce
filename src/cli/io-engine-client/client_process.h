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
// the process gets.
Finished run_client(const std::vector<std::string>& arguments, const std::vector<std::string>& environment = {});

}  // namespace cairn::cli
