// A second, independent reader of TensorBoard event files, to check what we write: generic protobuf
// fields, and the checksum bit by bit.
#pragma once

#include <cstdint>
#include <cstring>
#include <map>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace switchyard::testing {

inline std::uint32_t crc32c_bit_by_bit(std::string_view bytes) {
  std::uint32_t crc = ~0U;
  for (const char c : bytes) {
    for (int bit = 0; bit < 8; ++bit) {
      const std::uint32_t differs = (crc ^ (static_cast<unsigned char>(c) >> bit)) & 1U;
      crc = (crc >> 1) ^ (differs * 0x82F63B78U);
    }
  }
  return ~crc;
}

template <typename T>
T take(std::string_view& bytes) {
  if (bytes.size() < sizeof(T)) throw std::runtime_error("the bytes end too early");
  T value;
  std::memcpy(&value, bytes.data(), sizeof(T));
  bytes.remove_prefix(sizeof(T));
  return value;
}

// The messages of a TFRecord file; throws when a length or checksum is wrong.
inline std::vector<std::string> read_tfrecords(std::string_view file) {
  const auto check = [](std::string_view bytes, std::uint32_t stored) {
    const std::uint32_t rotated = stored - 0xA282EAD8U;
    if (((rotated >> 17) | (rotated << 15)) != crc32c_bit_by_bit(bytes)) {
      throw std::runtime_error("a checksum is wrong");
    }
  };
  std::vector<std::string> messages;
  while (!file.empty()) {
    const std::string_view length_bytes = file.substr(0, 8);
    const auto length = take<std::uint64_t>(file);
    check(length_bytes, take<std::uint32_t>(file));
    if (file.size() < length) throw std::runtime_error("the file ends inside a record");
    messages.emplace_back(file.substr(0, length));
    file.remove_prefix(length);
    check(messages.back(), take<std::uint32_t>(file));
  }
  return messages;
}

// One protobuf message: the values of every field in their order. Integers, doubles and floats are
// numbers; everything with a length is bytes.
struct ProtoMessage {
  std::map<int, std::vector<double>> numbers;
  std::map<int, std::vector<std::string>> bytes;

  [[nodiscard]] double number(int field) const { return numbers.at(field).at(0); }
  [[nodiscard]] const std::string& text(int field) const { return bytes.at(field).at(0); }
};

inline std::uint64_t take_varint(std::string_view& bytes) {
  std::uint64_t value = 0;
  for (int shift = 0; shift < 64; shift += 7) {
    const auto byte = take<std::uint8_t>(bytes);
    value |= static_cast<std::uint64_t>(byte & 0x7F) << shift;
    if ((byte & 0x80) == 0) return value;
  }
  throw std::runtime_error("a number of more than 64 bits");
}

inline ProtoMessage read_proto(std::string_view bytes) {
  ProtoMessage message;
  while (!bytes.empty()) {
    const std::uint64_t key = take_varint(bytes);
    const int field = static_cast<int>(key >> 3);
    switch (key & 7) {
      case 0:
        message.numbers[field].push_back(
            static_cast<double>(static_cast<std::int64_t>(take_varint(bytes))));
        break;
      case 1:
        message.numbers[field].push_back(take<double>(bytes));
        break;
      case 2: {
        const std::uint64_t size = take_varint(bytes);
        if (bytes.size() < size) throw std::runtime_error("a field ends too early");
        message.bytes[field].emplace_back(bytes.substr(0, size));
        bytes.remove_prefix(size);
        break;
      }
      case 5:
        message.numbers[field].push_back(static_cast<double>(take<float>(bytes)));
        break;
      default:
        throw std::runtime_error("a field of unknown type");
    }
  }
  return message;
}

inline std::vector<double> read_packed_doubles(std::string_view bytes) {
  std::vector<double> values;
  while (!bytes.empty()) values.push_back(take<double>(bytes));
  return values;
}

// The values of a summary event by tag; histograms as their messages.
struct SummaryValues {
  std::map<std::string, double> scalars;
  std::map<std::string, ProtoMessage> histograms;
};

inline SummaryValues read_summary(const ProtoMessage& event) {
  SummaryValues values;
  const ProtoMessage summary = read_proto(event.text(5));
  for (const std::string& bytes : summary.bytes.at(1)) {
    const ProtoMessage value = read_proto(bytes);
    if (value.numbers.contains(2)) values.scalars[value.text(1)] = value.number(2);
    if (value.bytes.contains(5)) values.histograms[value.text(1)] = read_proto(value.text(5));
  }
  return values;
}

}  // namespace switchyard::testing
