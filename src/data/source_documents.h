// How the text of one source is cut into documents.
#pragma once

#include <functional>
#include <string_view>

#include "data/source_files.h"
#include "switchyard/core/error.h"
#include "switchyard/data/prepare.h"

namespace switchyard::data {

// Calls `visit` with every document of `text`, which is all text of `source`, in order; none is
// empty. Throws DataError for a record that cannot be used, unless options.skip_bad_records: then
// `skip` hears why it is left out.
void for_each_document_of(const SourceFile& source, std::string_view text,
                          const PrepareOptions& options,
                          const std::function<void(std::string_view)>& visit,
                          const std::function<void(const DataError&)>& skip);

}  // namespace switchyard::data
