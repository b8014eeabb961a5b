// Ranks that are not connected yet meet at a TCP port.
#include "switchyard/comm/meeting.h"

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <string>
#include <thread>
#include <vector>

#include "switchyard/core/error.h"

namespace switchyard::comm {
namespace {

using std::chrono::seconds;
using ::testing::HasSubstr;

// A socket that listens at a port of its own.
class Listening {
 public:
  Listening() : descriptor_(::socket(AF_INET, SOCK_STREAM, 0)) {
    address_.sin_family = AF_INET;
    address_.sin_addr.s_addr = ::inet_addr("127.0.0.1");
    socklen_t size = sizeof(address_);
    EXPECT_EQ(::bind(descriptor_, generic(), size), 0);
    EXPECT_EQ(::listen(descriptor_, 16), 0);
    EXPECT_EQ(::getsockname(descriptor_, generic(), &size), 0);
  }
  ~Listening() { close(); }
  Listening(const Listening&) = delete;
  Listening& operator=(const Listening&) = delete;

  void close() {
    if (descriptor_ >= 0) ::close(descriptor_);
    descriptor_ = -1;
  }
  // Its descriptor, which is the caller's then.
  int give_away() { return std::exchange(descriptor_, -1); }
  [[nodiscard]] std::int64_t port() const { return ntohs(address_.sin_port); }

 private:
  sockaddr* generic() { return reinterpret_cast<sockaddr*>(&address_); }
  int descriptor_;
  sockaddr_in address_{};
};

RankEnvironment rank_of(std::int64_t rank, std::int64_t num_ranks, std::int64_t port) {
  return {.rank = rank, .num_ranks = num_ranks, .meeting = {.host = "127.0.0.1", .port = port}};
}

// What each rank is told.
std::vector<std::string> told(std::vector<RankEnvironment> ranks) {
  std::vector<std::string> texts(ranks.size());
  std::vector<std::jthread> threads;
  for (std::size_t i = 0; i < ranks.size(); ++i) {
    threads.emplace_back([&, i] {
      try {
        texts[i] = meet(ranks[i], i == 0 ? std::string("a\0b\n\xff", 5) : "mine", seconds(20));
      } catch (const std::exception& error) {
        texts[i] = error.what();
      }
    });
  }
  threads.clear();
  return texts;
}

const std::string kText("a\0b\n\xff", 5);

TEST(Meeting, TellsAllRanksTheFirstOnesText) {
  Listening socket;
  const std::int64_t port = socket.port();
  socket.close();  // free again
  EXPECT_THAT(told({rank_of(0, 3, port), rank_of(1, 3, port), rank_of(2, 3, port)}),
              ::testing::Each(kText));
}

TEST(Meeting, TakesASocketThatAlreadyListens) {
  Listening socket;
  const std::int64_t port = socket.port();
  std::vector<RankEnvironment> ranks{rank_of(0, 2, port), rank_of(1, 2, port)};
  ranks[0].meeting.listening_socket = socket.give_away();
  EXPECT_THAT(told(ranks), ::testing::Each(kText));
}

TEST(Meeting, SaysWhereNobodyCame) {
  Listening socket;
  const std::int64_t port = socket.port();
  socket.close();
  try {
    (void)meet(rank_of(1, 2, port), "", seconds(1));
    FAIL() << "there is nobody";
  } catch (const PeerError& error) {
    EXPECT_THAT(error.what(), HasSubstr("rank 1 of 2: the ranks do not meet at 127.0.0.1:" +
                                        std::to_string(port)));
    EXPECT_THAT(error.hint(), HasSubstr("MASTER_ADDR and MASTER_PORT"));
  }
}

TEST(Meeting, SaysThatARankIsMissing) {
  Listening socket;
  const std::int64_t port = socket.port();
  socket.close();
  EXPECT_THROW((void)meet(rank_of(0, 2, port), "text", seconds(1)), PeerError);
}

TEST(Meeting, SaysThatThePortIsTaken) {
  Listening socket;
  EXPECT_THROW((void)meet(rank_of(0, 2, socket.port()), "text", seconds(2)), PeerError);
}

}  // namespace
}  // namespace switchyard::comm
