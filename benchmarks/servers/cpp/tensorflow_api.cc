#include "tensorflow_api.h"

#include <dlfcn.h>

#include <cstdio>
#include <cstdlib>

TensorFlowApi tf;

namespace {

void* Open(const std::string& path) {
  void* library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL | RTLD_DEEPBIND);
  if (library == nullptr) {
    std::fprintf(stderr, "ERROR %s\n", dlerror());
    std::exit(1);
  }
  return library;
}

void* Find(void* library, void* framework, const char* name) {
  void* found = dlsym(library, name);
  if (found == nullptr) found = dlsym(framework, name);
  if (found == nullptr) {
    std::fprintf(stderr, "ERROR this TensorFlow has no %s\n", name);
    std::exit(1);
  }
  return found;
}

}  // namespace

void OpenTensorFlow(const std::string& folder) {
  void* framework = Open(folder + "/libtensorflow_framework.so.2");
  void* library = Open(folder + "/libtensorflow_cc.so.2");
#define RESOLVE(name) \
  tf.name = reinterpret_cast<decltype(tf.name)>(Find(library, framework, #name));
  TENSORFLOW_FUNCTIONS(RESOLVE)
#undef RESOLVE
}
