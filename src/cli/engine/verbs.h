// The verbs of the engine: each returns the exit code and throws typed errors.
#pragma once

#include "switchyard/config/options.h"

namespace switchyard::cli {

int run_pretrain(const config::ParsedArguments& arguments);
int run_resume(const config::ParsedArguments& arguments);
int run_evaluate(const config::ParsedArguments& arguments);
int run_finetune(const config::ParsedArguments& arguments);
int run_generate(const config::ParsedArguments& arguments);
int run_predict(const config::ParsedArguments& arguments);
int run_report(const config::ParsedArguments& arguments);
int run_compare(const config::ParsedArguments& arguments);
int run_plan(const config::ParsedArguments& arguments);
int run_doctor(const config::ParsedArguments& arguments);
int run_verify_layout(const config::ParsedArguments& arguments);

}  // namespace switchyard::cli
