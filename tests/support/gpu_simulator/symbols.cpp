// Names of functions and variables of this program, from its own symbol table: kernels and shared
// variables are local symbols, which dladdr does not know.
#include "support/gpu_simulator/symbols.h"

#include <cxxabi.h>
#include <elf.h>
#include <fmt/format.h>
#include <link.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "support/gpu_simulator/simulator.h"

namespace switchyard::gpu_simulator {
namespace {

struct Symbol {
  std::uintptr_t begin = 0;
  std::uintptr_t end = 0;
  std::string name;
  bool is_variable = false;
};

std::uintptr_t load_address() {
  std::uintptr_t address = 0;
  dl_iterate_phdr(
      [](dl_phdr_info* info, std::size_t /*size*/, void* out) {
        *static_cast<std::uintptr_t*>(out) = info->dlpi_addr;
        return 1;
      },
      &address);
  return address;
}

template <typename T>
std::vector<T> table(const std::string& file, std::size_t offset, std::size_t bytes) {
  std::vector<T> entries(bytes / sizeof(T));
  if (offset + bytes > file.size()) return {};
  std::memcpy(entries.data(), file.data() + offset, entries.size() * sizeof(T));
  return entries;
}

std::vector<Symbol> read_symbols() {
  std::ifstream stream("/proc/self/exe", std::ios::binary);
  const std::string file{std::istreambuf_iterator<char>(stream), {}};
  Elf64_Ehdr header{};
  if (file.size() < sizeof(header)) return {};
  std::memcpy(&header, file.data(), sizeof(header));
  const auto sections =
      table<Elf64_Shdr>(file, header.e_shoff, header.e_shnum * sizeof(Elf64_Shdr));
  const std::uintptr_t base = load_address();
  std::vector<Symbol> symbols;
  for (const Elf64_Shdr& section : sections) {
    if (section.sh_type != SHT_SYMTAB) continue;
    const Elf64_Shdr& text = sections.at(section.sh_link);
    const auto names = table<char>(file, text.sh_offset, text.sh_size);
    for (const auto& symbol : table<Elf64_Sym>(file, section.sh_offset, section.sh_size)) {
      const auto type = ELF64_ST_TYPE(symbol.st_info);
      if ((type != STT_FUNC && type != STT_OBJECT) || symbol.st_value == 0) continue;
      const std::uintptr_t begin = base + symbol.st_value;
      symbols.push_back({.begin = begin,
                         .end = begin + symbol.st_size,
                         .name = names.data() + symbol.st_name,
                         .is_variable = type == STT_OBJECT});
    }
  }
  std::sort(symbols.begin(), symbols.end(),
            [](const Symbol& a, const Symbol& b) { return a.begin < b.begin; });
  return symbols;
}

std::string demangled(const std::string& name) {
  int status = 0;
  const std::unique_ptr<char, void (*)(void*)> text(
      abi::__cxa_demangle(name.c_str(), nullptr, nullptr, &status), &std::free);
  return status == 0 ? text.get() : name;
}

const std::vector<Symbol>& symbols() {
  static const std::vector<Symbol> kSymbols = read_symbols();
  return kSymbols;
}

// Null: unknown.
const Symbol* symbol_at(const void* address) {
  const auto value = reinterpret_cast<std::uintptr_t>(address);
  const auto next =
      std::upper_bound(symbols().begin(), symbols().end(), value,
                       [](std::uintptr_t at, const Symbol& symbol) { return at < symbol.begin; });
  if (next == symbols().begin() || value >= std::prev(next)->end) return nullptr;
  return &*std::prev(next);
}

// A function "_ZN1a6kernelEv" has the local variable "_ZZN1a6kernelEvE4tile"; its lambdas are
// called like that too.
std::vector<SharedVariable> find_shared_variables(const void* kernel) {
  std::vector<SharedVariable> variables;
  const Symbol* function = symbol_at(kernel);
  if (function == nullptr) return variables;
  const std::string prefix = "_ZZ" + function->name.substr(2) + 'E';
  for (const Symbol& symbol : symbols()) {
    if (symbol.is_variable && symbol.name.starts_with(prefix)) {
      variables.push_back({reinterpret_cast<std::byte*>(symbol.begin), symbol.end - symbol.begin});
    }
  }
  return variables;
}

}  // namespace

std::string name_of(const void* address) {
  const Symbol* symbol = symbol_at(address);
  if (symbol == nullptr) return fmt::format("{}", address);
  const auto offset = reinterpret_cast<std::uintptr_t>(address) - symbol->begin;
  const std::string name = demangled(symbol->name);
  return offset == 0 ? name : fmt::format("{} + {}", name, offset);
}

const std::vector<SharedVariable>& shared_variables(const void* kernel) {
  static std::map<const void*, std::vector<SharedVariable>> known;
  const auto [entry, is_new] = known.try_emplace(kernel);
  if (is_new) entry->second = find_shared_variables(kernel);
  return entry->second;
}

}  // namespace switchyard::gpu_simulator
