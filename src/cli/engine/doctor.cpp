// `switchyard doctor`.
#include "switchyard/doctor/doctor.h"

#include <fmt/format.h>

#include <optional>
#include <string>

#include "cli/engine/on_ranks.h"
#include "cli/engine/verbs.h"
#include "switchyard/core/exit_code.h"
#include "switchyard/core/ranks.h"
#include "switchyard/core/terminal.h"
#include "switchyard/core/text.h"
#include "switchyard/doctor/links.h"
#include "switchyard/format/json.h"
#include "switchyard/ops/device.h"

namespace switchyard::cli {
namespace {

using format::Json;

std::string as_lines(const doctor::Diagnosis& diagnosis) {
  std::string text;
  for (const doctor::DoctorLine& line : diagnosis.lines) {
    const bool alarming =
        line.verdict == doctor::Verdict::kWarning || line.verdict == doctor::Verdict::kFailure;
    std::string verdict = doctor::verdict_name(line.verdict);
    if (alarming) {
      for (char& c : verdict) c = static_cast<char>(c - 'a' + 'A');
    }
    text += fmt::format("{:<5} {:<15} {}\n", verdict, line.topic, printable_line(line.finding));
    if (!line.advice.empty()) {
      text += fmt::format("{:<21} -> {}\n", "", printable_line(line.advice));
    }
  }
  return text + (diagnosis.exit_code() == kExitDone
                     ? fmt::format("this machine can train; recommended: train.precision={}\n",
                                   diagnosis.precision)
                     : "this machine cannot train as it is\n");
}

template <typename T>
Json or_null(const std::optional<T>& value) {
  return value.has_value() ? Json(*value) : Json(nullptr);
}

Json facts_as_json(const doctor::DoctorFacts& facts) {
  const HostFacts& host = facts.host;
  Json json;
  json["cpu_model"] = host.cpu_model;
  json["cpu_flags"] = host.cpu_flags;
  json["sockets"] = host.num_sockets;
  json["cores"] = host.num_cores;
  json["hardware_threads"] = host.num_threads;
  json["allowed_threads"] = host.num_allowed_threads;
  json["cpu_quota"] = or_null(host.cpu_quota);
  json["memory_bytes"] = host.memory_bytes;
  json["available_memory_bytes"] = host.available_memory_bytes;
  json["memory_limit_bytes"] = or_null(host.memory_limit_bytes);
  json["open_files_limit"] = or_null(host.open_files_limit);
  json["locked_memory_limit_bytes"] = or_null(host.locked_memory_limit_bytes);
  json["shared_memory_bytes"] = or_null(facts.shared_memory_bytes);
  for (const doctor::FolderFacts& folder : facts.folders) {
    json["folders"].push_back({{"purpose", folder.purpose},
                               {"path", folder.path.string()},
                               {"free_bytes", or_null(folder.free_bytes)},
                               {"writable", folder.writable}});
  }
  json["environment"] = facts.environment;
  json["programs"] = facts.program;
  json["nvidia_driver"] = host.nvidia_driver;
  json["nvidia_gpus"] = host.nvidia_gpus;
  const doctor::EngineFacts& engine = facts.engine;
  json["libtorch"] = engine.torch_version;
  json["linear_algebra"] = engine.linear_algebra;
  json["threads"] = engine.num_threads;
  json["cpu_architecture"] = engine.cpu_architecture;
  json["built_with_cuda"] = engine.built_with_cuda;
  json["cuda_runtime"] = engine.cuda_runtime;
  json["usable_gpus"] = engine.num_usable_gpus;
  json["nccl"] = engine.nccl_version;
  json["fp32_flops"] = engine.fp32_flops;
  json["bf16_flops"] = engine.bf16_flops;
  return json;
}

std::string as_json(const doctor::DoctorFacts& facts, const doctor::Diagnosis& diagnosis,
                    const std::optional<doctor::LinkFacts>& links) {
  Json json;
  json["usable"] = diagnosis.exit_code() == kExitDone;
  json["precision"] = diagnosis.precision;
  json["checks"] = Json::array();
  for (const doctor::DoctorLine& line : diagnosis.lines) {
    json["checks"].push_back({{"topic", line.topic},
                              {"verdict", doctor::verdict_name(line.verdict)},
                              {"finding", line.finding},
                              {"advice", line.advice}});
  }
  json["facts"] = facts_as_json(facts);
  if (links) {
    json["links"] = {{"ranks", links->num_ranks},
                     {"sum_bytes_per_second", links->reduce_bytes_per_second},
                     {"between_two", Json::array()}};
    for (const doctor::LinkFacts::Link& link : links->links) {
      json["links"]["between_two"].push_back({{"from", link.from},
                                              {"to", link.to},
                                              {"bytes_per_second", link.bytes_per_second},
                                              {"seconds", link.seconds}});
    }
  }
  return format::json_text(json, 2) + "\n";
}

int tell(const doctor::DoctorFacts& facts, const std::optional<doctor::LinkFacts>& links,
         bool as_object) {
  doctor::Diagnosis diagnosis = doctor::diagnose(facts);
  if (links) diagnosis.lines.push_back(doctor::check_links(*links));
  write_stdout(as_object ? as_json(facts, diagnosis, links) : as_lines(diagnosis));
  return diagnosis.exit_code();
}

}  // namespace

int run_doctor(const config::ParsedArguments& arguments) {
  if (!arguments.has("--links")) {
    return tell(doctor::gather_doctor_facts(), std::nullopt, arguments.has("--json"));
  }
  config::Config config;
  config.train.device = arguments.text("--device");
  config.parallel.start_timeout = 60;  // a link that is dead is what it is for
  config.train.micro_batch_size = 1;
  config.train.global_batch_size = read_rank_environment().num_ranks;
  int code = kExitDone;
  const int of_ranks = on_ranks(config, arguments.has("--debug"), [&](comm::Communicator& world) {
    const doctor::LinkFacts links = doctor::measure_links(
        world, config.train.device == "cuda" ? ops::use_gpu(read_rank_environment().local_rank)
                                             : c10::Device(c10::kCPU));
    if (world.rank() == 0) {
      code = tell(doctor::gather_doctor_facts(), links, arguments.has("--json"));
    }
    world.barrier("doctor");
  });
  return of_ranks == kExitDone ? code : of_ranks;
}

}  // namespace switchyard::cli
