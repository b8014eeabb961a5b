// The folder that `prepare` fills. Everything is written under a temporary name first: beside the
// output when that is a new folder, which then appears in one rename; inside it when it is there
// already, which is right for links, mount points and folders with other things in them.
#pragma once

#include <filesystem>

namespace switchyard::data {

class OutputFolder {
 public:
  // Makes the temporary folder. Links that `output` ends in are followed. Temporary folders of dead
  // processes are removed; a data set that one was replacing is put back. Throws UsageError when
  // `output` is there, unless it is empty or holds prepared data and `overwrite` is set;
  // StorageError when nothing can be written.
  OutputFolder(const std::filesystem::path& output, bool overwrite);
  // Not published = removed.
  ~OutputFolder();
  OutputFolder(const OutputFolder&) = delete;
  OutputFolder& operator=(const OutputFolder&) = delete;

  [[nodiscard]] const std::filesystem::path& temporary() const { return temporary_; }
  // Whether `canonical` is one of the files that publish() will remove.
  [[nodiscard]] bool replaces(const std::filesystem::path& canonical) const;
  // Gives the files their names, data.json last. Of what was there only the files that a data set
  // consists of (config::kDataSetFiles) are removed. Throws StorageError; the old data set is whole
  // then.
  void publish();

 private:
  void publish_into_existing();

  std::filesystem::path output_;
  std::filesystem::path temporary_;
  bool is_new_ = false;
};

}  // namespace switchyard::data
