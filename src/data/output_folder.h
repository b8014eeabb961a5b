// The folder that `prepare` fills. Everything is written under a temporary name first: beside the
// output when that is a new folder; inside it when it is there already, which is right for links,
// mount points and folders with other things in them. Either way one rename makes the data set
// appear: of the new folder, or of the temporary one to config::kIncomingFolderName, where readers
// look first. Its files then get their places; a run that is killed before they have them leaves
// the new data set, and the next run goes on with that.
#pragma once

#include <filesystem>

namespace switchyard::data {

class OutputFolder {
 public:
  // Makes the temporary folder. Links that `output` ends in are followed. Temporary folders of dead
  // processes of this machine are removed: which no process has locked, whatever its number means
  // in which container. A replacement that one had begun is finished. Throws UsageError when
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
  // Makes the data set appear. Of what was there only the files that a data set consists of
  // (config::kDataSetFiles) are replaced or removed. Throws StorageError; the old data set or the
  // new one is whole then, as it is when the process is killed at any moment.
  void publish();

 private:
  void make_temporary(const std::filesystem::path& folder);

  std::filesystem::path output_;
  std::filesystem::path temporary_;
  int lock_ = -1;  // temporary_, open: the kernel lets go of its lock when the process ends
  bool is_new_ = false;
};

}  // namespace switchyard::data
