// The folder that `prepare` fills: temporary until everything is in it.
#pragma once

#include <filesystem>

namespace switchyard::data {

class OutputFolder {
 public:
  // Creates a temporary folder beside `output`. Throws UsageError when `output` exists, unless it
  // is an empty folder or holds prepared data and `overwrite` is set. Temporary folders of dead
  // processes are removed.
  OutputFolder(std::filesystem::path output, bool overwrite);
  // Not published = removed.
  ~OutputFolder();
  OutputFolder(const OutputFolder&) = delete;
  OutputFolder& operator=(const OutputFolder&) = delete;

  [[nodiscard]] const std::filesystem::path& temporary() const { return temporary_; }
  // Gives the folder its name. An older one is removed after that.
  void publish();

 private:
  std::filesystem::path output_;
  std::filesystem::path temporary_;
};

}  // namespace switchyard::data
