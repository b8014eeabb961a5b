// `switchyard doctor --links`: how fast ranks reach each other. Measuring and judging are two
// functions, as in doctor.h.
#pragma once

#include <c10/core/Device.h>

#include <cstdint>
#include <vector>

#include "switchyard/comm/communicator.h"
#include "switchyard/doctor/doctor.h"

namespace switchyard::doctor {

struct LinkFacts {
  // What a rank sends to one other while it receives as much from a third, as all ranks do.
  struct Link {
    std::int64_t from = 0;
    std::int64_t to = 0;
    double bytes_per_second = 0.0;
    double seconds = 0.0;  // until a few bytes are there
  };
  std::int64_t num_ranks = 1;
  std::vector<Link> links;               // at distances of 1, 2, 4, ... ranks
  double reduce_bytes_per_second = 0.0;  // of a tensor that is added up over all
};

// A collective of all ranks, with tensors on `device`; all get the same. Takes a few seconds.
[[nodiscard]] LinkFacts measure_links(comm::Communicator& world, c10::Device device);

// A warning where one link has less than a third of the median's speed.
[[nodiscard]] DoctorLine check_links(const LinkFacts& facts);

}  // namespace switchyard::doctor
