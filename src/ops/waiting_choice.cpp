#include "switchyard/ops/waiting_choice.h"

#include <algorithm>

namespace switchyard::ops {

bool CoreShortage::add(double wall_seconds, double waiting_seconds) {
  if (wall_seconds <= 0.0) return short_;
  const double share = waiting_seconds / wall_seconds;
  const bool is_above = share > kShortAbove;
  if (is_above && was_above_) short_ = true;
  was_above_ = is_above;
  num_looks_with_enough_ = share < kEnoughBelow ? num_looks_with_enough_ + 1 : 0;
  if (num_looks_with_enough_ >= kLooksUntilEnough) short_ = false;
  return short_;
}

int num_fewer_cores(int num_threads, int num_cores) {
  return num_threads >= 2 && num_threads == num_cores ? (num_threads + 1) / 2 : 0;
}

LookAtCores difference(const SecondsSeen& before, const SecondsSeen& now) {
  LookAtCores look;
  look.wall = now.wall - before.wall;
  look.waiting = std::max(0.0, now.waiting - before.waiting);  // threads that end take theirs along
  look.computed = now.computed - before.computed;
  look.left_idle = look.wall;
  if (before.on_ours && now.on_ours) {
    look.others = now.on_ours->busy - before.on_ours->busy - look.computed;
  }
  if (before.on_left && now.on_left) {
    look.left_idle = (now.on_left->idle - before.on_left->idle) / static_cast<double>(now.num_left);
  }
  return look;
}

Waiting WaitingChoice::add(const LookAtCores& look) {
  double waiting = look.waiting;
  if (chosen_ == Waiting::on_fewer_cores) {
    waiting = look.left_idle > (1.0 - kTakenBelow) * look.wall ? 0.0 : look.wall;
  } else if (chosen_ == Waiting::on_one_thread) {
    waiting = look.others < kTakenAbove * num_left_ * look.wall ? 0.0 : look.wall;
  }
  if (!shortage_.add(look.wall, waiting)) return chosen_ = Waiting::spinning;
  if (chosen_ == Waiting::on_fewer_cores) {
    kept_.wall += look.wall;
    kept_.computed += look.computed;
    kept_.waiting += look.waiting;
    if (++kept_.num_looks < kLooksUntilShared) return chosen_;
    const double wanted = kept_.computed + kept_.waiting;
    const bool is_one_enough =
        kept_.computed < kGetBelow * wanted && wanted < kWantBelow * kept_.wall;
    kept_ = {};
    if (!is_one_enough) return chosen_;
    num_looks_until_next_try_ = kLooksUntilNextTry;
    return chosen_ = Waiting::on_one_thread;
  }
  if (chosen_ == Waiting::on_one_thread && --num_looks_until_next_try_ > 0) return chosen_;
  kept_ = {};
  const bool others_fill_them = num_fewer_ > 0 && look.others > kTakenAbove * num_left_ * look.wall;
  return chosen_ = others_fill_them ? Waiting::on_fewer_cores : Waiting::sleeping;
}

}  // namespace switchyard::ops
