#include "switchyard/ops/waiting_choice.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace switchyard::ops {
namespace {

TEST(CoreShortage, BeginsWhenItLastsAndEndsWhenThereWereEnoughForAWhile) {
  CoreShortage shortage;
  EXPECT_FALSE(shortage.add(0.2, 0.0));
  EXPECT_FALSE(shortage.add(0.2, 0.02)) << "a tenth of a core: what any machine does beside";
  EXPECT_FALSE(shortage.add(0.2, 0.1)) << "a moment";
  EXPECT_FALSE(shortage.add(0.2, 0.0));
  EXPECT_FALSE(shortage.add(0.2, 0.1));
  EXPECT_TRUE(shortage.add(0.2, 0.1));
  for (int i = 1; i < CoreShortage::kLooksUntilEnough; ++i) EXPECT_TRUE(shortage.add(0.2, 0.0));
  EXPECT_TRUE(shortage.add(0.2, 0.01)) << "not quite enough: counts anew";
  for (int i = 1; i < CoreShortage::kLooksUntilEnough; ++i) EXPECT_TRUE(shortage.add(0.2, 0.001));
  EXPECT_FALSE(shortage.add(0.2, 0.0));
  EXPECT_FALSE(shortage.add(0.0, 1.0)) << "no time has passed";
}

// Two threads of two cores, beside others that want the cores as much.
WaitingChoice on_fewer_cores() {
  WaitingChoice choice(2, 1);
  EXPECT_EQ(choice.add({.wall = 0.2, .waiting = 0.1, .others = 0.2}), Waiting::spinning)
      << "a moment";
  EXPECT_EQ(choice.add({.wall = 0.2, .waiting = 0.1, .others = 0.2}), Waiting::on_fewer_cores);
  return choice;
}
// Threads that mostly follow each other, on a core that others do not take, or take, too.
constexpr LookAtCores kAlone{.wall = 0.2, .waiting = 0.06, .computed = 0.2};
constexpr LookAtCores kShared{.wall = 0.2, .waiting = 0.14, .computed = 0.12};

TEST(WaitingChoice, FewerCoresAreForWhenOthersTakeThem) {
  WaitingChoice alone(2, 1);
  Waiting chosen = Waiting::spinning;
  for (int i = 0; i < 3; ++i) chosen = alone.add({.wall = 0.2, .waiting = 0.1});
  EXPECT_EQ(chosen, Waiting::sleeping) << "its own threads are in each other's way";
  EXPECT_EQ(alone.add({.wall = 0.2, .waiting = 0.1, .others = 0.15}), Waiting::on_fewer_cores)
      << "others that come later";

  WaitingChoice choice = on_fewer_cores();
  // On fewer cores the threads wait for each other; what counts is what the others do.
  for (int i = 0; i < 20; ++i) {
    EXPECT_EQ(choice.add({.wall = 0.2, .left_idle = 0.11}), Waiting::on_fewer_cores);
  }
  const LookAtCores gone{.wall = 0.2, .waiting = 0.2, .left_idle = 0.13};
  for (int i = 1; i < CoreShortage::kLooksUntilEnough; ++i) {
    EXPECT_EQ(choice.add(gone), Waiting::on_fewer_cores);
  }
  EXPECT_EQ(choice.add(gone), Waiting::spinning);
}

// So many looks as decide on fewer cores, alike. What follows the last.
Waiting decide(WaitingChoice& choice, const LookAtCores& look) {
  for (int i = 1; i < WaitingChoice::kLooksUntilShared; ++i) {
    EXPECT_EQ(choice.add(look), Waiting::on_fewer_cores);
  }
  return choice.add(look);
}

TEST(WaitingChoice, OneThreadIsForWhenOthersTakeWhatIsKeptAsWell) {
  WaitingChoice choice = on_fewer_cores();
  EXPECT_EQ(decide(choice, kAlone), Waiting::on_fewer_cores);
  EXPECT_EQ(decide(choice, {.wall = 0.2, .waiting = 0.19, .computed = 0.12}),
            Waiting::on_fewer_cores)
      << "threads that compute at a time, most of it";
  EXPECT_EQ(choice.add(kShared), Waiting::on_fewer_cores) << "a moment of several";
  EXPECT_EQ(choice.add(kShared), Waiting::on_fewer_cores);
  for (int i = 2; i < WaitingChoice::kLooksUntilShared; ++i) {
    EXPECT_EQ(choice.add(kAlone), Waiting::on_fewer_cores);
  }
  EXPECT_EQ(decide(choice, kShared), Waiting::on_one_thread);
  // Whether one thread waits says nothing of how several would.
  const LookAtCores there{.wall = 0.2, .waiting = 0.0, .others = 0.13};
  for (int i = 0; i < 20; ++i) EXPECT_EQ(choice.add(there), Waiting::on_one_thread);
  const LookAtCores gone{.wall = 0.2, .waiting = 0.1, .others = 0.11};
  for (int i = 1; i < CoreShortage::kLooksUntilEnough; ++i) {
    EXPECT_EQ(choice.add(gone), Waiting::on_one_thread);
  }
  EXPECT_EQ(choice.add(gone), Waiting::spinning);
}

// Others come and go, and other cores may be better ones.
TEST(WaitingChoice, FewerCoresAreTriedAgainAfterAWhile) {
  WaitingChoice choice = on_fewer_cores();
  for (int round = 0; round < 3; ++round) {
    ASSERT_EQ(decide(choice, kShared), Waiting::on_one_thread);
    for (int i = 1; i < WaitingChoice::kLooksUntilNextTry; ++i) {
      EXPECT_EQ(choice.add({.wall = 0.2, .others = 0.27}), Waiting::on_one_thread);
    }
    EXPECT_EQ(choice.add({.wall = 0.2, .others = 0.27}), Waiting::on_fewer_cores);
  }
}

// What one way of waiting changes is no reason for another, but for what it was chosen for.
TEST(WaitingChoice, DoesNotComeAndGoWhateverOthersTake) {
  for (const double wanted : {1.3, 1.7}) {  // cores, by our threads
    for (const int num_cores : {2, 3, 4, 8, 64}) {
      const int num_fewer = num_fewer_cores(num_cores, num_cores);
      ASSERT_EQ(num_fewer, (num_cores + 1) / 2);
      const int num_left = num_cores - num_fewer;
      for (double others = 0.0; others <= 2.0 * num_cores; others += 0.05) {
        WaitingChoice choice(num_cores, num_fewer);
        Waiting chosen = Waiting::spinning;
        int num_changes = 0;
        int num_looks_with_one = 0;
        const double takes_beside_ours = std::min(others / 1.5, num_cores / 2.0);
        // Alone on what is left to them they take all they want, and most of the other cores.
        const double takes_of_kept = std::clamp(others - num_left, 0.0, num_fewer - 0.5);
        const double get = std::min(wanted, num_fewer - takes_of_kept);
        for (int look = 0; look < 1000; ++look) {
          const Waiting before = chosen;
          LookAtCores seen{.wall = 0.2, .waiting = 0.1, .others = 0.2 * takes_beside_ours};
          if (before == Waiting::on_fewer_cores) {
            seen = {.wall = 0.2,
                    .waiting = 0.2 * (wanted - get),
                    .computed = 0.2 * get,
                    .others = 0.2 * takes_of_kept,
                    .left_idle = 0.2 * std::max(0.0, 1.0 - others / num_left)};
          } else if (before == Waiting::on_one_thread) {
            ++num_looks_with_one;
            seen.waiting = others + 1.0 > num_cores ? 0.1 : 0.0;
            seen.others = 0.2 * std::min(others, num_cores - 0.5);
          }
          chosen = choice.add(seen);
          num_changes += chosen != before ? 1 : 0;
        }
        SCOPED_TRACE(::testing::Message() << wanted << " beside " << others << " of " << num_cores);
        const bool fill = takes_beside_ours > WaitingChoice::kTakenAbove * num_left;
        const bool is_one_enough =
            fill && wanted < WaitingChoice::kWantBelow && get < WaitingChoice::kGetBelow * wanted;
        if (is_one_enough) {
          EXPECT_GE(num_looks_with_one, 940);
          EXPECT_LE(num_changes, 20);
        } else {
          EXPECT_EQ(num_changes, 1);
          EXPECT_EQ(chosen, fill ? Waiting::on_fewer_cores : Waiting::sleeping);
        }
        EXPECT_TRUE(is_one_enough || others <= num_cores || wanted == 1.7);
      }
    }
  }
}

TEST(WaitingChoice, OthersAreWhoeverElseComputesOnTheCoresOfOurs) {
  const SecondsSeen before{.wall = 10.0,
                           .waiting = 3.0,
                           .computed = 20.0,
                           .on_ours = CoreSeconds{.busy = 100.0, .idle = 50.0},
                           .on_left = CoreSeconds{.busy = 70.0, .idle = 60.0},
                           .num_left = 2};
  SecondsSeen now = before;
  now.wall += 0.5;
  now.waiting += 0.25;
  now.computed += 0.75;
  now.on_ours->busy += 1.0;
  now.on_left->busy += 0.75;
  now.on_left->idle += 0.25;
  const LookAtCores look = difference(before, now);
  EXPECT_EQ(look.wall, 0.5);
  EXPECT_EQ(look.waiting, 0.25);
  EXPECT_EQ(look.computed, 0.75);
  EXPECT_EQ(look.others, 0.25) << "what ours did not";
  EXPECT_EQ(look.left_idle, 0.125) << "of each of two";
  // Threads that have ended took along what they had waited.
  now.waiting = 1.0;
  now.on_ours.reset();
  now.on_left.reset();
  const LookAtCores untold = difference(before, now);
  EXPECT_EQ(untold.waiting, 0.0);
  EXPECT_EQ(untold.others, 0.0);
  EXPECT_EQ(untold.left_idle, 0.5);
}

TEST(WaitingChoice, FewerCoresOnlyWhereEachThreadHasOne) {
  EXPECT_EQ(num_fewer_cores(2, 2), 1);
  EXPECT_EQ(num_fewer_cores(3, 3), 2);
  EXPECT_EQ(num_fewer_cores(64, 64), 32);
  EXPECT_EQ(num_fewer_cores(1, 1), 0);
  EXPECT_EQ(num_fewer_cores(4, 64), 0) << "a quota, or a number that was chosen";
  EXPECT_EQ(num_fewer_cores(4, 2), 0);
  EXPECT_EQ(num_fewer_cores(2, 0), 0) << "the system does not tell";
  for (WaitingChoice none : {WaitingChoice(2, 0), WaitingChoice(0, 0)}) {
    Waiting chosen = Waiting::spinning;
    for (int i = 0; i < 10; ++i) chosen = none.add({.wall = 0.2, .waiting = 0.2, .others = 0.4});
    EXPECT_EQ(chosen, Waiting::sleeping);
  }
}

}  // namespace
}  // namespace switchyard::ops
