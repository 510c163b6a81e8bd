// The interface of opkit.h over torch's loader of AOTInductor packages.

#include "opkit.h"

#include <ATen/Functions.h>
#include <c10/core/InferenceMode.h>
#include <torch/csrc/inductor/aoti_package/model_package_loader.h>
#include <torch/version.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <fstream>
#include <limits>
#include <map>
#include <memory>
#include <mutex>
#include <sstream>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace {

using Loader = torch::inductor::AOTIModelPackageLoader;
using Shape = std::vector<std::int64_t>;

struct Fault : std::runtime_error {
  Fault(int code, const std::string& text) : std::runtime_error(text), code(code) {}
  int code;
};

struct Part {
  std::string name;
  std::string variables;
  Shape shape;  // first 0: any batch
};

struct Opened {
  std::string path;
  std::vector<Part> inputs, outputs, verdict;
  std::vector<std::string> programs;
  std::mutex busy;
  std::map<std::string, std::unique_ptr<Loader>> loaders;
};

std::mutex book;
std::map<std::int64_t, std::shared_ptr<Opened>> opened;
std::int64_t last = 0;
thread_local std::string said;

template <typename Body>
int guarded(Body body) noexcept {
  try {
    try {
      body();
      said.clear();
      return OPKIT_OK;
    } catch (const Fault& fault) {
      said = fault.what();
      return fault.code;
    } catch (const std::exception& error) {
      said = error.what();
      said = said.substr(0, said.find('\n'));  // torch adds its stack below
      return OPKIT_FAILED;
    } catch (...) {
      said = "an error without a name";
      return OPKIT_FAILED;
    }
  } catch (...) {  // no memory for the text
    return OPKIT_FAILED;
  }
}

std::vector<std::string> words(const std::string& text) {
  std::istringstream stream(text);
  std::vector<std::string> found;
  for (std::string word; stream >> word;) found.push_back(word);
  return found;
}

std::vector<std::string> lines(const std::string& text, char end = '\n') {
  std::istringstream stream(text);
  std::vector<std::string> found;
  for (std::string line; std::getline(stream, line, end);) found.push_back(line);
  return found;
}

// "name<tab>channels<tab>units" a line to "name channels units, ..."
std::string listed(const std::string& text) {
  std::string found;
  for (const auto& line : lines(text)) {
    if (!found.empty()) found += ", ";
    found += line;
  }
  std::replace(found.begin(), found.end(), '\t', ' ');
  return found;
}

std::string shown(const Shape& shape) {
  std::string text = "(";
  for (std::size_t k = 0; k < shape.size(); ++k) {
    if (k) text += ", ";
    text += k == 0 && shape[0] == 0 ? "batch" : std::to_string(shape[k]);
  }
  return text + ")";
}

std::shared_ptr<Opened> at_handle(std::int64_t handle) {
  const std::lock_guard<std::mutex> lock(book);
  const auto found = opened.find(handle);
  if (found == opened.end()) {
    throw Fault(OPKIT_HANDLE, "handle " + std::to_string(handle) +
                                  " is closed or was never opened: call opkit_open");
  }
  return found->second;
}

std::string one_line(const std::string& text) { return text.substr(0, text.find('\n')); }

std::string release(const std::string& version) {  // "2.14.1" to "2.14"
  return version.substr(0, version.find('.', version.find('.') + 1));
}

using Metadata = std::unordered_map<std::string, std::string>;

std::vector<Part> parts_of(const Metadata& metadata, const std::string& key) {
  std::vector<Part> parts;
  const auto text = [&](const std::string& name) {
    const auto found = metadata.find(name);
    return found == metadata.end() ? std::string() : found->second;
  };
  for (const auto& name : words(text(key))) {
    Part part{name, listed(text(name + ".variables")), {}};
    if (key == "verdict") {
      const auto columns = lines(text(name + ".columns"));
      part.shape = {0};
      if (!columns.empty()) part.shape.push_back(columns.size());
      part.variables = listed(text(name + ".columns"));
    } else {
      for (const auto& word : words(text(name + ".shape"))) {
        part.shape.push_back(word == "batch" ? 0 : std::stoll(word));
      }
    }
    parts.push_back(part);
  }
  return parts;
}

std::shared_ptr<Opened> open(const std::string& path) {
  if (!std::ifstream(path)) {
    throw Fault(OPKIT_NO_FILE, path + ": missing, or cannot be read");
  }
  Metadata metadata;
  try {
    metadata = Loader::load_metadata_from_package(path, "model");
  } catch (const std::exception& error) {
    throw Fault(OPKIT_PACKAGE, path + ": no package of AOTInductor (" +
                                   one_line(error.what()) +
                                   "): make it with opkit export --to aoti");
  }
  const std::string own = std::to_string(OPKIT_INTERFACE);
  if (metadata["interface"] != own) {
    const std::string other = metadata["interface"].empty()
                                  ? "without an interface"
                                  : "of interface " + metadata["interface"];
    throw Fault(OPKIT_PACKAGE, path + ": a package " + other + ", this library reads " +
                                   own + ": export again, or build it again");
  }
  if (release(metadata["torch"]) != release(TORCH_VERSION)) {
    throw Fault(OPKIT_PACKAGE, path + ": compiled by torch " + metadata["torch"] +
                                   ", this library is of " TORCH_VERSION
                                   ": export again, or build it again");
  }
  auto made = std::make_shared<Opened>();
  made->path = path;
  made->inputs = parts_of(metadata, "inputs");
  made->outputs = parts_of(metadata, "outputs");
  made->verdict = parts_of(metadata, "verdict");
  made->programs = words(metadata["programs"]);
  if (made->inputs.empty() || made->outputs.empty()) {
    throw Fault(OPKIT_PACKAGE, path + ": names no inputs or no outputs: export again");
  }
  try {
    made->loaders["model"] = std::make_unique<Loader>(path, "model");
  } catch (const std::exception& error) {
    throw Fault(OPKIT_PACKAGE, path + ": cannot be loaded (" + one_line(error.what()) +
                                   "): export again on this machine");
  }
  return made;
}

Loader& program(Opened& surrogate, const std::string& name, const char* remedy) {
  const auto& all = surrogate.programs;
  if (std::find(all.begin(), all.end(), name) == all.end()) {
    throw Fault(OPKIT_ABSENT, surrogate.path + ": holds no program " + name + ": " + remedy);
  }
  auto& loader = surrogate.loaders[name];
  if (!loader) loader = std::make_unique<Loader>(surrogate.path, name);
  return *loader;
}

std::int64_t size(const Shape& shape) {
  std::int64_t count = 1;
  for (const auto n : shape) count *= n;
  return count;
}

// Refuse an array that is not of a type and shape; returns the batch.
std::int64_t fits(const opkit_array& array, const Part& part, std::int64_t batch,
                  const std::string& what) {
  const std::string name = what + " " + part.name;
  if (!array.data) throw Fault(OPKIT_ARGUMENT, name + ": data are a null pointer");
  if (array.type != OPKIT_FLOAT32) {
    throw Fault(OPKIT_ARGUMENT, name + ": type " + std::to_string(array.type) +
                                    ", give float32 (type 1; real(c_float))");
  }
  if (array.rank < 0 || array.rank > OPKIT_RANK) {
    throw Fault(OPKIT_ARGUMENT, name + ": rank " + std::to_string(array.rank) + ", give " +
                                    std::to_string(part.shape.size()));
  }
  const Shape given(array.shape, array.shape + array.rank);
  Shape wanted = part.shape;
  if (!wanted.empty() && wanted[0] == 0 && batch) wanted[0] = batch;
  bool same = given.size() == wanted.size();
  for (std::size_t k = 0; same && k < given.size(); ++k) {
    same = k == 0 && wanted[0] == 0 ? given[0] > 0 : given[k] == wanted[k];
  }
  if (!same) {
    throw Fault(OPKIT_ARGUMENT, name + ": shape " + shown(given) + ", give " + shown(wanted));
  }
  return given.empty() ? 1 : given[0];
}

void finite(const float* values, const Shape& shape, const std::string& what, const char* remedy) {
  const std::int64_t count = size(shape), each = shape.empty() || !shape[0] ? 1 : count / shape[0];
  constexpr float largest = std::numeric_limits<float>::max();
  bool sound = true;
  for (std::int64_t k = 0; k < count; ++k) sound &= std::fabs(values[k]) <= largest;
  if (sound) return;
  std::int64_t k = 0;
  while (std::fabs(values[k]) <= largest) ++k;
  throw Fault(OPKIT_NOT_FINITE, what + " is not finite in sample " + std::to_string(k / each) +
                                    ": " + remedy);
}

// Refuse another number of arrays than there are parts.
void counted(const opkit_array* arrays, std::int32_t count, const std::vector<Part>& parts,
             const std::string& what) {
  if (!arrays) throw Fault(OPKIT_ARGUMENT, what + "s are a null pointer");
  if (count == static_cast<std::int32_t>(parts.size())) return;
  std::string names;
  for (const auto& part : parts) names += (names.empty() ? "" : ", ") + part.name;
  throw Fault(OPKIT_ARGUMENT, std::to_string(count) + " " + what + "s, give " +
                                  std::to_string(parts.size()) + ": " + names);
}

std::vector<at::Tensor> taken(const opkit_array* arrays, std::int32_t count,
                              const std::vector<Part>& parts, std::int64_t batch,
                              const std::string& what) {
  counted(arrays, count, parts, what);
  std::vector<at::Tensor> tensors;
  for (std::int32_t k = 0; k < count; ++k) {
    batch = fits(arrays[k], parts[k], batch, what);
    const Shape shape(arrays[k].shape, arrays[k].shape + arrays[k].rank);
    finite(static_cast<const float*>(arrays[k].data), shape, what + " " + parts[k].name,
           "mend it");
    tensors.push_back(at::from_blob(arrays[k].data, shape, at::kFloat));
  }
  return tensors;
}

// Refuse arrays for results that do not fit.
void room(const opkit_array* arrays, std::int32_t count, const std::vector<Part>& parts,
          std::int64_t batch, const std::string& what) {
  counted(arrays, count, parts, what);
  for (std::int32_t k = 0; k < count; ++k) fits(arrays[k], parts[k], batch, what);
}

void give(const at::Tensor& tensor, opkit_array& array) {
  const at::Tensor plain = tensor.contiguous();
  std::memcpy(array.data, plain.const_data_ptr(), plain.nbytes());
}

// Copy results out: all of them, or none where one is not finite.
void put(const std::vector<at::Tensor>& tensors, opkit_array* arrays,
         const std::vector<Part>& parts, const std::string& what) {
  std::vector<at::Tensor> plain;
  for (std::size_t k = 0; k < parts.size(); ++k) {
    plain.push_back(tensors.at(k).contiguous());
    finite(static_cast<const float*>(plain[k].const_data_ptr()), plain[k].sizes().vec(),
           what + " " + parts[k].name, "its inputs are far from the training inputs");
  }
  for (std::size_t k = 0; k < parts.size(); ++k) give(plain[k], arrays[k]);
}

constexpr const char* WITH_DERIVATIVES = "export with --derivatives";

// Derivatives are traced for one number of samples: torch says so in many words.
std::vector<at::Tensor> derived(Opened& surrogate, const char* name,
                                const std::vector<at::Tensor>& tensors,
                                std::int64_t given) {
  auto& loader = program(surrogate, name, WITH_DERIVATIVES);
  const auto wanted = surrogate.inputs.at(0).shape.at(0);
  const std::int64_t batch = wanted ? wanted : 1;
  if (given != batch) {
    throw Fault(OPKIT_ARGUMENT, std::string(name) + " takes " + std::to_string(batch) +
                                    " samples at once, not " + std::to_string(given));
  }
  return loader.run(tensors);
}

void text(const std::string& from, char* to) {
  const std::size_t count = std::min<std::size_t>(from.size(), OPKIT_TEXT - 1);
  std::memcpy(to, from.data(), count);
  to[count] = '\0';
}

template <typename Pointer>
void there(Pointer pointer, const char* name) {
  if (!pointer) throw Fault(OPKIT_ARGUMENT, std::string(name) + " is a null pointer");
}

}  // namespace

extern "C" {

int opkit_open(const char* path, std::int64_t* handle) {
  return guarded([&] {
    there(path, "path");
    there(handle, "handle");
    *handle = 0;
    auto made = open(path);
    const std::lock_guard<std::mutex> lock(book);
    opened[++last] = std::move(made);
    *handle = last;
  });
}

int opkit_describe(std::int64_t handle, std::int32_t what, std::int32_t index,
                   opkit_tensor* tensor) {
  return guarded([&] {
    there(tensor, "tensor");
    const auto surrogate = at_handle(handle);
    if (what < OPKIT_INPUT || what > OPKIT_VERDICT) {
      throw Fault(OPKIT_ARGUMENT, "what is " + std::to_string(what) +
                                      ": give 1 (inputs), 2 (outputs) or 3 (verdict)");
    }
    const auto& parts = what == OPKIT_INPUT    ? surrogate->inputs
                        : what == OPKIT_OUTPUT ? surrogate->outputs
                                               : surrogate->verdict;
    *tensor = opkit_tensor{};
    tensor->count = static_cast<std::int32_t>(parts.size());
    if (index < 0 || index >= tensor->count) {
      throw Fault(OPKIT_ARGUMENT, "index " + std::to_string(index) + ": there are " +
                                      std::to_string(parts.size()));
    }
    const auto& part = parts[index];
    text(part.name, tensor->name);
    text(part.variables, tensor->variables);
    tensor->rank = static_cast<std::int32_t>(part.shape.size());
    std::copy(part.shape.begin(), part.shape.end(), tensor->shape);
  });
}

int opkit_run(std::int64_t handle, const opkit_array* inputs, std::int32_t count,
              opkit_array* outputs, std::int32_t results) {
  return opkit_check(handle, inputs, count, outputs, results, nullptr, 0);
}

int opkit_check(std::int64_t handle, const opkit_array* inputs, std::int32_t count,
                opkit_array* outputs, std::int32_t results, opkit_array* verdict,
                std::int32_t parts) {
  return guarded([&] {
    const auto surrogate = at_handle(handle);
    const c10::InferenceMode inference;
    const auto tensors = taken(inputs, count, surrogate->inputs, 0, "input");
    const std::int64_t batch = tensors.at(0).size(0);
    room(outputs, results, surrogate->outputs, batch, "output");
    const bool judged = verdict != nullptr;
    if (judged) {
      if (surrogate->verdict.empty()) {
        throw Fault(OPKIT_ABSENT, surrogate->path +
                                      ": holds no verdict: train and export again, "
                                      "and see no_verdict in the report beside it");
      }
      if (parts != static_cast<std::int32_t>(surrogate->verdict.size())) {
        throw Fault(OPKIT_ARGUMENT, std::to_string(parts) + " parts of a verdict, give " +
                                        std::to_string(surrogate->verdict.size()));
      }
      for (std::int32_t k = 0; k < parts; ++k) {
        if (verdict[k].data) fits(verdict[k], surrogate->verdict[k], batch, "verdict");
      }
    }
    const std::lock_guard<std::mutex> lock(surrogate->busy);
    put(program(*surrogate, "model", "export again").run(tensors), outputs,
        surrogate->outputs, "the predicted");
    if (!judged) return;
    const auto found = program(*surrogate, "verdict", "export again").run(tensors);
    for (std::int32_t k = 0; k < parts; ++k) {  // a bound may be infinite
      if (verdict[k].data) give(found.at(k), verdict[k]);
    }
  });
}

int opkit_jvp(std::int64_t handle, const opkit_array* inputs, const opkit_array* directions,
              std::int32_t count, opkit_array* products, std::int32_t results) {
  return guarded([&] {
    const auto surrogate = at_handle(handle);
    const c10::InferenceMode inference;
    auto tensors = taken(inputs, count, surrogate->inputs, 0, "input");
    const std::int64_t batch = tensors.at(0).size(0);
    const auto more = taken(directions, count, surrogate->inputs, batch, "direction");
    tensors.insert(tensors.end(), more.begin(), more.end());
    room(products, results, surrogate->outputs, batch, "product");
    const std::lock_guard<std::mutex> lock(surrogate->busy);
    put(derived(*surrogate, "jvp", tensors, batch), products, surrogate->outputs,
        "the product of");
  });
}

int opkit_vjp(std::int64_t handle, const opkit_array* inputs, std::int32_t count,
              const opkit_array* weights, std::int32_t results, opkit_array* gradients) {
  return guarded([&] {
    const auto surrogate = at_handle(handle);
    const c10::InferenceMode inference;
    auto tensors = taken(inputs, count, surrogate->inputs, 0, "input");
    const std::int64_t batch = tensors.at(0).size(0);
    const auto more = taken(weights, results, surrogate->outputs, batch, "weight");
    tensors.insert(tensors.end(), more.begin(), more.end());
    room(gradients, count, surrogate->inputs, batch, "gradient");
    const std::lock_guard<std::mutex> lock(surrogate->busy);
    put(derived(*surrogate, "vjp", tensors, batch), gradients, surrogate->inputs,
        "the gradient of");
  });
}

int opkit_error(char* text, std::int64_t room) {
  if (!text || room < 1) return OPKIT_ARGUMENT;
  const auto count = std::min<std::int64_t>(said.size(), room - 1);
  std::memcpy(text, said.data(), count);
  text[count] = '\0';
  return OPKIT_OK;
}

int opkit_close(std::int64_t handle) {
  return guarded([&] {
    at_handle(handle);
    const std::lock_guard<std::mutex> lock(book);
    opened.erase(handle);
  });
}

}  // extern "C"
