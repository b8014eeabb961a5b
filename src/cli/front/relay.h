// What a child writes, passed on for as long as somebody reads it.
#pragma once

#include <atomic>
#include <thread>

namespace switchyard::cli {

// mpirun ends its ranks where nobody reads their messages any more (`| head`, a lost connection).
// It writes to a pipe of ours instead, which stays open.
class Relay {
 public:
  // Of what goes to `descriptor`, 1 or 2. Where the system has no pipe for us nothing changes.
  explicit Relay(int descriptor);
  ~Relay();  // all that the child wrote has been passed on
  Relay(const Relay&) = delete;
  Relay& operator=(const Relay&) = delete;

  void redirect() const;  // in the child
  void begin();           // in the parent, once there is a child

 private:
  void pass_on();

  int descriptor_;
  int reading_end_ = -1;
  int writing_end_ = -1;
  std::atomic<bool> is_over_ = false;
  std::thread thread_;
};

}  // namespace switchyard::cli
