// What MPI is given of a tensor and its rows, and what has to stay while it reads and writes.
#pragma once

#include <ATen/core/Tensor.h>

#define OMPI_SKIP_MPICXX 1  // MPI's C++ bindings are no longer part of it
#define MPICH_SKIP_MPICXX 1
#include <mpi.h>

#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <vector>

#include "switchyard/comm/communicator.h"
#include "switchyard/core/error.h"

namespace switchyard::comm {

// Rows of a tensor as one unit, so that counts stay small however large a row is.
class RowType {
 public:
  RowType(const at::Tensor& tensor, std::int64_t num_rows) {
    const std::int64_t bytes =
        num_rows == 0 ? 0 : static_cast<std::int64_t>(tensor.nbytes()) / num_rows;
    SWITCHYARD_CHECK(bytes <= std::numeric_limits<int>::max(), "a row of {} bytes", bytes);
    MPI_Type_contiguous(static_cast<int>(bytes), MPI_BYTE, &type_);
    MPI_Type_commit(&type_);
  }
  ~RowType() { MPI_Type_free(&type_); }
  RowType(const RowType&) = delete;
  RowType& operator=(const RowType&) = delete;
  [[nodiscard]] MPI_Datatype get() const { return type_; }

 private:
  MPI_Datatype type_ = MPI_DATATYPE_NULL;
};

// Counts and offsets as MPI takes them.
struct Spans {
  std::vector<int> count;
  std::vector<int> offset;

  Spans() = default;
  // Of every rank the part `idx`.
  Spans(const RankRows& rows, std::size_t idx, std::size_t num_parts) {
    for (std::size_t i = idx; i < rows.count.size(); i += num_parts) {
      add(rows.first[i], rows.count[i]);
    }
  }
  void add(std::int64_t begin, std::int64_t rows) {
    SWITCHYARD_CHECK(begin + rows <= std::numeric_limits<int>::max(),
                     "{} rows at a time are more than MPI can count", begin + rows);
    count.push_back(static_cast<int>(rows));
    offset.push_back(static_cast<int>(begin));
  }
};

// Everything that MPI reads and writes while a collective is under way.
struct Transfer {
  at::Tensor send = {};
  at::Tensor receive = {};
  Spans out = {};
  Spans in = {};
  std::optional<RowType> row = {};
  MPI_Request request = MPI_REQUEST_NULL;
};

}  // namespace switchyard::comm
