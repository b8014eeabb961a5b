#include "cli/front/relay.h"

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <string_view>

#include "core/write_all.h"

namespace switchyard::cli {
namespace {

// Above standard input, output and error, any of which may be closed. The number, or -1.
int above_standard(int descriptor) {
  const int moved = ::fcntl(descriptor, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
  ::close(descriptor);
  return moved;
}

}  // namespace

Relay::Relay(int descriptor) : descriptor_(descriptor) {
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) return;
  reading_end_ = above_standard(ends[0]);
  writing_end_ = above_standard(ends[1]);
}

Relay::~Relay() {
  is_over_ = true;
  if (writing_end_ >= 0) ::close(writing_end_);
  if (thread_.joinable()) thread_.join();
  if (reading_end_ >= 0) ::close(reading_end_);
}

void Relay::redirect() const {
  if (reading_end_ >= 0 && writing_end_ >= 0) ::dup2(writing_end_, descriptor_);
}

void Relay::begin() {
  if (writing_end_ >= 0) ::close(writing_end_);
  writing_end_ = -1;
  if (reading_end_ >= 0) thread_ = std::thread([this] { pass_on(); });
}

void Relay::pass_on() {
  std::array<char, 1U << 16U> part{};
  while (true) {
    pollfd readable{.fd = reading_end_, .events = POLLIN, .revents = 0};
    constexpr int kMilliseconds = 200;
    const int num_ready = ::poll(&readable, 1, kMilliseconds);
    // The child has ended; another process may hold its end of the pipe still.
    if (num_ready == 0 && is_over_) return;
    if (num_ready <= 0) continue;
    const ssize_t count = ::read(reading_end_, part.data(), part.size());
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) return;
    // Whether or not anybody reads it.
    (void)write_all(descriptor_, std::string_view(part.data(), static_cast<std::size_t>(count)));
  }
}

}  // namespace switchyard::cli
