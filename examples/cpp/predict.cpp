// Run a surrogate from C++: raw float32 in, raw float32 out, in physical units.
//
//   opkit export RUN --to aoti -o model.pt2
//   predict model.pt2 input.f32 output.f32
//
// The input holds any number of samples in C order, each of the shape that the package
// itself names. One input tensor and one output; a package for one batch size takes that
// many samples.

#include <opkit.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <fstream>
#include <iostream>
#include <limits>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

void must(int code) {
  if (code == OPKIT_OK) return;
  std::string text(1024, '\0');
  opkit_error(text.data(), text.size());
  throw std::runtime_error(text.c_str());
}

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

std::int64_t values_of_one(const opkit_tensor& tensor) {
  std::int64_t count = 1;
  for (int k = 1; k < tensor.rank; ++k) count *= tensor.shape[k];
  return count;
}

opkit_array array(std::vector<float>& values, const opkit_tensor& like, std::int64_t batch) {
  opkit_array array{values.data(), OPKIT_FLOAT32, like.rank, {}};
  std::copy(like.shape, like.shape + like.rank, array.shape);
  array.shape[0] = batch;
  return array;
}

void predict(const char* model, const std::string& from, const std::string& to) {
  std::int64_t surrogate = 0;
  must(opkit_open(model, &surrogate));
  opkit_tensor in{}, out{}, part{};
  must(opkit_describe(surrogate, OPKIT_INPUT, 0, &in));
  must(opkit_describe(surrogate, OPKIT_OUTPUT, 0, &out));

  auto values = read(from);
  const std::int64_t count = values.size(), each = values_of_one(in), batch = count / each;
  if (batch == 0 || batch * each != count) {
    throw std::runtime_error("the input holds " + std::to_string(count) +
                             " values, not a multiple of " + std::to_string(each));
  }
  std::vector<float> result(batch * values_of_one(out)), bound(batch);
  const opkit_array input = array(values, in, batch);
  opkit_array output = array(result, out, batch);

  for (const char* what : {"first run", "second run"}) {
    const auto start = std::chrono::steady_clock::now();
    must(opkit_run(surrogate, &input, 1, &output, 1));
    const std::chrono::duration<double, std::milli> spent =
        std::chrono::steady_clock::now() - start;
    std::cout << what << ": " << spent.count() << " ms for " << batch << " samples\n";
  }
  if (opkit_describe(surrogate, OPKIT_VERDICT, 0, &part) == OPKIT_OK) {
    std::vector<opkit_array> verdict(part.count);  // parts without data are left out
    verdict[0] = array(bound, part, batch);
    must(opkit_check(surrogate, &input, 1, &output, 1, verdict.data(), part.count));
    std::cout << "largest error bound: " << *std::max_element(bound.begin(), bound.end())
              << "\n";
  }
  must(opkit_close(surrogate));

  std::ofstream file(to, std::ios::binary);
  file.write(reinterpret_cast<const char*>(result.data()), result.size() * sizeof(float));
  if (!file) throw std::runtime_error(to + ": cannot be written");
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
    std::cerr << "Error: " << error.what() << "\n";
    return 2;
  }
}
