// Work that takes less time on one thread than handing it to others does.
#pragma once

namespace switchyard::ops {

// While it lives, LibTorch, oneDNN and MKL compute on the calling thread what that thread calls,
// and start no team of OpenMP. For small work, and for threads that share the cores already: a
// product called by a thread of a team would otherwise begin a team of its own, if only of that
// thread. Does nothing where OpenMP's library cannot be reached.
class OneThread {
 public:
  [[nodiscard]] explicit OneThread(bool is_on = true);
  ~OneThread();
  OneThread(const OneThread&) = delete;
  OneThread& operator=(const OneThread&) = delete;

 private:
  int num_threads_ = 0;          // before; 0 where nothing was changed
  int num_product_threads_ = 0;  // MKL's number for this thread, 0 for that of the program
};

}  // namespace switchyard::ops
