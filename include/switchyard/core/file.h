// Whole-file reading and atomic writing; core/mapped_file.h maps.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace switchyard {

// Reads a whole file. Throws StorageError naming the path (missing, a folder, unreadable).
[[nodiscard]] std::string read_file(const std::filesystem::path& path);

// Calls `visit` with what is left of an open descriptor, part by part, from where whoever shares it
// has read to. (Opened again by a name such as /dev/stdin, a file would begin anew and a socket
// could not be opened.) `name` is for errors. Throws StorageError.
void read_to_end(int descriptor, const std::string& name,
                 const std::function<void(std::string_view part)>& visit);
// The same of what has a name and can be read only once: a FIFO, a device.
void read_to_end(const std::filesystem::path& path,
                 const std::function<void(std::string_view part)>& visit);

// Replaces `path` with `bytes`: temporary file beside it, fsync, rename, fsync of the folder.
// On any failure the old file is intact, the temporary gone, and StorageError is thrown. (Only when
// the last fsync fails, of the folder, is the new file there already, complete.)
void write_file_atomically(const std::filesystem::path& path, std::string_view bytes);

// What the name of a temporary file tells: "a.txt.tmp-4711-0" is process 4711's, to become "a.txt".
struct TemporaryName {
  std::string_view final_name;  // part of the name that was given
  std::uint32_t process = 0;
};
// Nothing for a name that AtomicFile never gives: files of users may hold ".tmp-" as well.
[[nodiscard]] std::optional<TemporaryName> parse_temporary_name(std::string_view name);

// Makes renames in `folder` durable. Throws StorageError.
void sync_folder(const std::filesystem::path& folder);

// Gives a finished folder its final name, durably; an empty folder of that name is replaced. Throws
// StorageError, and changes nothing, when the name is taken.
void publish_folder(const std::filesystem::path& finished, const std::filesystem::path& final_name);

// A file being written that only appears under its name on commit(). Not committed = removed.
class AtomicFile {
 public:
  // `mode` is what the umask leaves bits of. Throws StorageError.
  explicit AtomicFile(std::filesystem::path path, unsigned mode = 0666);
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  void write(std::span<const std::byte> bytes);
  void write(std::string_view text);
  [[nodiscard]] std::size_t bytes_written() const noexcept { return bytes_written_; }
  // Flushes, fsyncs and renames. Throws StorageError; the temporary is gone then.
  void commit();

 private:
  [[noreturn]] void fail(const char* action);
  std::filesystem::path path_;
  std::filesystem::path temporary_;
  int descriptor_ = -1;
  std::size_t bytes_written_ = 0;
  std::string buffer_;
};

// Where `path` is a regular file that has other names (hard links, as a copy by `cp -al` has), puts
// a copy of its own there: what is written or cut off then stays out of theirs. Throws
// StorageError.
void separate_from_hard_links(const std::filesystem::path& path);

// A file that grows, under this name alone: every write hands all its bytes to the operating system
// before it returns, in order and each once.
class AppendFile {
 public:
  enum class Mode { kContinue, kCreateNew };  // kCreateNew: the file must not be there yet
  // Throws StorageError.
  AppendFile(std::filesystem::path path, Mode mode);
  ~AppendFile();
  AppendFile(const AppendFile&) = delete;
  AppendFile& operator=(const AppendFile&) = delete;

  // Throws StorageError. What could not be written then is kept and goes first at the next write,
  // from the byte where this one stopped: a disk that is full for a while costs nothing.
  void write(std::string_view bytes);
  // Has everything that was handed to write() reached the file?
  [[nodiscard]] bool is_complete() const noexcept { return pending_.empty(); }
  [[nodiscard]] const std::filesystem::path& path() const noexcept { return path_; }

 private:
  std::filesystem::path path_;
  int descriptor_ = -1;
  std::string pending_;
};

}  // namespace switchyard
