// How both programs begin and, when nothing else can be done, end.
#pragma once

namespace switchyard {

// For the beginning of main():
//  - Descriptors 0 to 2 that the parent closed are opened again on /dev/null, so that no file of
//    ours gets their number and with it what is meant for people. Writing to them still fails.
//  - A limit on the size of files is an error of the write that meets it, not a signal.
//  - What is thrown where nothing can catch it (in a thread, in a destructor, while an error is
//    handled; mostly memory that ran out) ends the process with its exit code (core/exit_code.h)
//    and one line instead of SIGABRT.
void set_up_process();

// For threads beside the one that works: signals are not for the one that calls.
void take_no_signals();

// One line on standard error, without allocating: "switchyard: error: <text>".
void write_last_words(const char* text) noexcept;

}  // namespace switchyard
