// What a run does beside training (evaluations, samples, records): when it fails, that costs a
// warning, never a trained step.
#pragma once

#include <cstdint>
#include <exception>
#include <functional>
#include <map>
#include <string>

namespace switchyard::train {

class SideWork {
 public:
  // Does `work` after `step`. Failures are logged ever more seldom, with how many there were of
  // `kind` ("evaluation", "sample"), and when it works again. Did it work?
  bool attempt(const std::string& kind, std::int64_t step, const std::function<void()>& work);

  // Throws the failure of a kind whose last attempt failed, if there is one: a run that ends so did
  // not do all that it was asked for.
  void check_last() const;

 private:
  struct Failures {
    std::int64_t count = 0;
    std::exception_ptr last = nullptr;  // nullptr: the last attempt worked
  };
  std::map<std::string, Failures> failures_of_kind_;
};

}  // namespace switchyard::train
