#include <fmt/format.h>

#include <algorithm>
#include <string>

#include "switchyard/core/file.h"
#include "switchyard/core/terminal.h"
#include "switchyard/core/text.h"
#include "switchyard/telemetry/report.h"
#include "telemetry/report/document.h"
#include "telemetry/report/html.h"
#include "telemetry/report/run_files.h"
#include "telemetry/report/sections.h"
#include "telemetry/report/summary.h"

namespace switchyard::telemetry {
namespace {

std::string grid(const std::string& figures) {
  return figures.empty() ? std::string() : fmt::format("<div class=\"grid\">{}</div>", figures);
}

// "4 layers of width 192; 8 experts in 2 layers, router top_p; bf16"
std::string model_line(const config::Config& config) {
  const config::ModelConfig& model = config.model;
  std::string text =
      fmt::format("{} of width {}", counted(model.num_layers, "layer"), model.hidden_size);
  if (model.moe.num_experts > 0) {
    text += fmt::format("; {} in {}, router {}", counted(model.moe.num_experts, "expert"),
                        counted(std::ssize(model.moe.layers), "layer"), model.moe.router.type);
  }
  return text + "; " + config.train.precision;
}

std::string header(const RunFiles& files) {
  const Metrics& metrics = files.metrics;
  const std::int64_t step = metrics.steps.empty() ? 0 : metrics.steps.back().step;
  const std::int64_t planned = files.config.has_value() ? files.config->train.steps : 0;
  std::string pill;
  std::string bar;
  std::string where = fmt::format("step {}", step);
  if (planned > 0) {
    const double share = std::min(1.0, static_cast<double>(step) / static_cast<double>(planned));
    const bool done = step >= planned;
    where += fmt::format(" of {}", planned);
    pill = fmt::format("<span class=\"pill {}\">{}</span>", done ? "done" : "part",
                       done ? std::string("all steps done") : html::escape(html::percent(share)));
    if (!done) {
      bar = fmt::format("<div class=\"bar\"><i style=\"width:{}%\"></i></div>",
                        html::coordinate(share * 100.0));
    }
  }
  if (!metrics.steps.empty()) {
    where += fmt::format(", {} tokens, {} of training",
                         format_count(static_cast<double>(metrics.steps.back().tokens)),
                         format_duration(training_seconds(metrics)));
  }
  const std::string model =
      files.config.has_value()
          ? fmt::format("<p class=\"sub\">{}</p>", html::escape(model_line(*files.config)))
          : std::string();
  return fmt::format("<div class=\"top\"><h1>{}</h1>{}</div><p class=\"sub\">{}</p>{}{}\n",
                     html::escape(files.name), pill, where, model, bar);
}

std::string notes(const RunFiles& files) {
  if (files.notes.empty()) return {};
  std::string text = "<ul class=\"notes\">";
  for (const std::string& note : files.notes) {
    text += fmt::format("<li>{}</li>", html::escape(note));
  }
  return text + "</ul>\n";
}

std::string summary(const Metrics& metrics) {
  std::string text = "<ul class=\"summary\">";
  for (const Sentence& sentence : summarize(metrics)) {
    const char* tone = sentence.tone == Sentence::Tone::kGood  ? " class=\"good\""
                       : sentence.tone == Sentence::Tone::kBad ? " class=\"bad\""
                                                               : "";
    text += fmt::format("<li{}>{}</li>", tone, html::escape(sentence.text));
  }
  return text + "</ul>\n";
}

std::string tiles(const Metrics& metrics) {
  std::string text;
  for (const Figure& figure : key_figures(metrics)) {
    text += fmt::format("<div><span>{}</span><b>{}</b><small>{}</small></div>",
                        html::escape(figure.label), html::escape(figure.value),
                        html::escape(figure.detail));
  }
  return text.empty() ? text : fmt::format("<div class=\"tiles\">{}</div>\n", text);
}

std::string samples(const RunFiles& files) {
  if (files.samples.empty()) return "<p class=\"none\">No sample was written yet.</p>";
  std::string text;
  for (const SampleFile& sample : files.samples) {
    text += fmt::format("<details{}><summary>{}</summary><pre class=\"text\">{}</pre></details>",
                        &sample == &files.samples.front() ? " open" : "", html::escape(sample.name),
                        html::escape(sample.text));
  }
  if (files.num_samples > files.samples.size()) {
    text += fmt::format("<p class=\"note\">{} older ones are in the folder samples.</p>",
                        files.num_samples - files.samples.size());
  }
  return text;
}

std::string configuration(const RunFiles& files) {
  std::string text;
  if (!files.config_text.empty()) {
    text +=
        fmt::format("<details open><summary>config.resolved.yaml</summary><pre>{}</pre></details>",
                    html::escape(files.config_text));
  }
  if (!files.environment.empty()) {
    text += "<details><summary>Machine</summary><table>";
    for (const auto& [key, value] : files.environment) {
      text +=
          fmt::format("<tr><td>{}</td><td>{}</td></tr>", html::escape(key), html::escape(value));
    }
    text += "</table></details>";
  }
  return text;
}

}  // namespace

std::string report_page(const std::filesystem::path& run) {
  const RunFiles files = read_run(run);
  const Metrics& metrics = files.metrics;
  // An axis to the planned end shows how far a run is, but would crush the curves of its beginning.
  std::optional<std::int64_t> planned;
  if (files.config.has_value() && !metrics.steps.empty() &&
      metrics.steps.back().step >= files.config->train.steps / 3) {
    planned = files.config->train.steps;
  }
  std::string body = header(files) + notes(files) + summary(metrics) + tiles(metrics);
  if (!metrics.steps.empty()) {
    body += section("Learning", grid(learning_figures(metrics, planned)));
    body += section("Experts",
                    grid(expert_figures(metrics, planned) + difficulty_figures(metrics, planned)));
    body += section("Speed", grid(speed_figures(metrics, planned)));
  }
  body += section("Samples", samples(files));
  body += section("Configuration", configuration(files));
  return document(files.name, body);
}

Written write_report(const std::filesystem::path& run, const std::string& output) {
  return write_output(output, report_page(run));
}

}  // namespace switchyard::telemetry
