// Paths are UTF-8 in every call, whatever the operating system makes of them; and what it says of a failure is, too.
#include <doctest/doctest.h>

#include <filesystem>
#include <string>
#include <vector>

#include "lib/base/dynamic_module.h"
#include "lib/base/error.h"
#include "lib/base/file_map.h"
#include "lib/base/file_stream.h"
#include "lib/base/system_path.h"
#include "lib/base/utf8.h"
#include "lib/checkpoint/checkpoint.h"
#include "tests/support/api_session.h"
#include "tests/support/folder_writer.h"

using namespace dsv4;
namespace fs = std::filesystem;

namespace {

// Latin letters with accents, Cyrillic, Chinese, and a character beyond the first 65,536.
const std::string kLetters = "Mod\xc3\xa8le \xd0\xbc\xd0\xbe\xd0\xb4\xd0\xb5\xd0\xbb\xd1\x8c "
                             "\xe6\xa8\xa1\xe5\x9e\x8b \xf0\x9f\x90\x8b";

bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

// A folder in a folder and so on, each with such a name; gone with the object.
class DeepFolder {
 public:
  explicit DeepFolder(int levels) {
    std::string path = root_.path();
    for (int i = 0; i < levels; ++i) {
      path = join_path(path, kLetters);
      fs::create_directory(fs::path(system_path(path)));
      made_.push_back(path);
    }
  }
  ~DeepFolder() {
    for (auto it = made_.rbegin(); it != made_.rend(); ++it) {
      std::error_code ignored;
      for (const char* file : {"config.json", "tokenizer.json", "model.safetensors", "x"}) {
        fs::remove(fs::path(system_path(join_path(*it, file))), ignored);
      }
      fs::remove(fs::path(system_path(*it)), ignored);
    }
  }
  DeepFolder(const DeepFolder&) = delete;
  DeepFolder& operator=(const DeepFolder&) = delete;
  const std::string& path() const { return made_.back(); }

 private:
  TempFolder root_;
  std::vector<std::string> made_;
};

std::string refusal(const std::string& path) {
  try {
    FileMap map(path);
  } catch (const Error& error) {
    CHECK(error.status() == Status::kNotFound);
    return error.what();
  }
  FAIL("opened");
  return "";
}

void write_and_read(const std::string& path) {
  const std::string text = "what was written";
  for (const char* before : {"new", "replaced"}) {
    CAPTURE(before);
    FileWriter writer(path);
    writer.write(text.data(), text.size());
    writer.commit();
    FileReader reader(path);
    std::string found(100, '\0');
    found.resize(reader.read(found.data(), found.size()));
    CHECK(found == text);
    CHECK(read_file(path, 100) == text);
    CHECK(file_exists(path));
  }
}

}  // namespace

TEST_CASE("files whose folder has letters of any script, and a name longer than 260 characters") {
  for (const int levels : {1, 20}) {
    CAPTURE(levels);
    const DeepFolder folder(levels);
    if (levels > 1) REQUIRE(folder.path().size() > 400);
    write_and_read(join_path(folder.path(), "x"));
    CHECK_FALSE(file_exists(join_path(folder.path(), "none")));
    CHECK(contains(refusal(join_path(folder.path(), "none")), join_path(folder.path(), "none") + ": cannot open: "));
  }
}

TEST_CASE("a checkpoint opens and answers from such a folder, and a session is saved there") {
  const DeepFolder folder(8);
  const std::string tiny = DSV4_SOURCE_DIR "/samples/models/tiny";
  for (const char* name : {"config.json", "tokenizer.json", "model.safetensors"}) {
    write_text(join_path(folder.path(), name), read_text(join_path(tiny, name)));
  }
  api_test::ModelHandle model(folder.path().c_str());
  api_test::SessionHandle session(model.get, 512);
  session.say("Hello!");
  const std::string file = join_path(folder.path(), "x");
  REQUIRE(dsv4_session_save_path(session.get, file.c_str(), nullptr, nullptr) == DSV4_OK);
  CHECK(dsv4_session_restore_path(session.get, file.c_str(), nullptr) == DSV4_OK);
}

TEST_CASE("what is not there is named, with the system's reason in UTF-8") {
  const TempFolder folder;
  for (const std::string& name : {std::string("none"), "none/" + kLetters, kLetters}) {
    const std::string message = refusal(folder.file(name));
    CAPTURE(message);
    const std::string expected = folder.file(name) + ": cannot open: ";
    REQUIRE(message.starts_with(expected));
    CHECK(message.size() > expected.size());
    CHECK(message.back() != '.');
    CHECK(message.back() != '\n');
    CHECK(utf8_valid(message));
  }
  std::string reason;
  CHECK(open_module(folder.file("none.so"), reason) == nullptr);
  CHECK(contains(reason, "none.so"));
}

TEST_CASE("the folder of this program is told in UTF-8 and exists") {
  const std::string own = own_library_folder();
  CHECK(utf8_valid(own));
  CHECK(file_exists(own));
}

#ifdef _WIN32
TEST_CASE("a path for Windows: absolute, backslashes, and the long form where it is long") {
  CHECK(system_path("C:/a/./b/../c.txt") == L"C:\\a\\c.txt");
  CHECK(system_path("x").ends_with(L"\\x"));
  CHECK(system_path("//server/share/x") == L"\\\\server\\share\\x");
  CHECK(system_path("\\\\?\\C:\\a/b") == L"\\\\?\\C:\\a/b");  // taken as it is
  CHECK(system_path("C:/\xc3\xa9") == L"C:\\\u00e9");
  const std::string longer(300, 'a');
  const std::wstring wide(300, L'a');
  CHECK(system_path("C:/b/" + longer) == L"\\\\?\\C:\\b\\" + wide);
  CHECK(system_path("//server/share/" + longer) == L"\\\\?\\UNC\\server\\share\\" + wide);
  CHECK(system_path("").empty());
  for (const char* broken : {"C:/\xff", "\xc3", "a\xed\xa0\x80"}) {
    try {
      system_path(broken);
      FAIL("taken");
    } catch (const Error& error) {
      CHECK(error.status() == Status::kInvalidArgument);
      CHECK(contains(error.what(), "not UTF-8"));
      CHECK(utf8_valid(error.what()));
    }
  }
  CHECK(utf8_from_wide(L"a\u00e9") == "a\xc3\xa9");
  CHECK(utf8_from_wide(std::wstring_view()).empty());
}
#endif
