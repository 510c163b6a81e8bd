// Run a surrogate from C++: raw float32 in, raw float32 out, in physical units.
//
//   opkit export RUN --to aoti -o model.pt2
//   predict model.pt2 input.f32 output.f32
//
// The input holds any number of samples in C order, each of the shape that the file
// itself names. One input tensor; a package for one batch size takes that many samples.

#include <torch/csrc/inductor/aoti_package/model_package_loader.h>

#include <ATen/ATen.h>

#include <chrono>
#include <cstdint>
#include <fstream>
#include <iostream>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

std::vector<float> read(const std::string& path) {
  std::ifstream file(path, std::ios::binary | std::ios::ate);
  if (!file) throw std::runtime_error(path + ": cannot be read");
  const auto bytes = static_cast<std::size_t>(file.tellg());
  std::vector<float> values(bytes / sizeof(float));
  file.seekg(0);
  file.read(reinterpret_cast<char*>(values.data()), bytes);
  if (!file || bytes % sizeof(float)) {
    throw std::runtime_error(path + ": not a file of float32");
  }
  return values;
}

void write(const std::string& path, const at::Tensor& tensor) {
  std::ofstream file(path, std::ios::binary);
  file.write(static_cast<const char*>(tensor.const_data_ptr()), tensor.nbytes());
  if (!file) throw std::runtime_error(path + ": cannot be written");
}

// "batch 1 85 85" with 14450 values is (2, 1, 85, 85).
std::vector<std::int64_t> shape(const std::string& text, std::int64_t values) {
  std::istringstream words(text);
  std::string word;
  words >> word;  // the batch: "batch", or its only size
  std::vector<std::int64_t> sizes{0};
  std::int64_t each = 1;
  for (std::int64_t n; words >> n; each *= n) sizes.push_back(n);
  sizes[0] = values / each;
  if (sizes[0] == 0 || sizes[0] * each != values) {
    throw std::runtime_error("the input holds " + std::to_string(values) +
                             " values, not a multiple of " + std::to_string(each));
  }
  if (word != "batch" && std::stoll(word) != sizes[0]) {
    throw std::runtime_error("this package takes batches of " + word + ", not of " +
                             std::to_string(sizes[0]));
  }
  return sizes;
}

void predict(const std::string& model, const std::string& from, const std::string& to) {
  if (!std::ifstream(model)) throw std::runtime_error(model + ": cannot be read");
  torch::inductor::AOTIModelPackageLoader loader(model);
  auto metadata = loader.get_metadata();
  auto values = read(from);
  const auto sizes = shape(metadata.at("inputs.shape"), values.size());
  const bool cuda = metadata["AOTI_DEVICE_KEY"] == "cuda";
  auto input = at::from_blob(values.data(), sizes, at::kFloat);
  if (cuda) input = input.to(at::kCUDA);

  at::Tensor output;
  for (const char* what : {"first run", "second run"}) {
    const auto start = std::chrono::steady_clock::now();
    output = loader.run({input}).at(0).cpu().contiguous();
    const std::chrono::duration<double, std::milli> spent =
        std::chrono::steady_clock::now() - start;
    std::cout << what << ": " << spent.count() << " ms for " << sizes[0] << " samples\n";
  }
  std::cout << "output: " << output.sizes() << "\n";
  write(to, output);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 4) {
    std::cerr << "usage: predict MODEL.pt2 INPUT.f32 OUTPUT.f32\n";
    return 2;
  }
  try {
    predict(argv[1], argv[2], argv[3]);
  } catch (const std::exception& error) {
    std::cerr << "Error: " << std::string(error.what()).substr(0, 500) << "\n";
    return 2;
  }
}
