// CRC-32C (Castagnoli), the checksum of TFRecord files: RFC 3720, appendix B.4.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace switchyard::format {

[[nodiscard]] std::uint32_t crc32c(std::span<const std::byte> bytes);

// As TFRecord stores it: rotated and shifted, so that the checksum of data that holds checksums
// stays strong (tensorflow/core/lib/hash/crc32c.h).
[[nodiscard]] std::uint32_t masked_crc32c(std::span<const std::byte> bytes);

}  // namespace switchyard::format
