# What a Windows build has no tests of, each with its reason. Everything else is built and run, under Wine where the
# build machine is no Windows. A name is that of a test or of a folder.
set(DSV4_LEFT_OUT "")
function(dsv4_left_out reason)
  set(DSV4_LEFT_OUT ${DSV4_LEFT_OUT} ${ARGN} PARENT_SCOPE)
  list(JOIN ARGN ", " names)
  message(STATUS "tests left out: ${names}: ${reason}")
endfunction()

dsv4_left_out("make POSIX calls fail by name, through the linker" faults)
dsv4_left_out("run programs through sh, and look at signals; programs_dll_test does the least of it"
              cli_test samples_test samples_chat_test samples_snapshot_test)
dsv4_left_out("of the tree, the same on every system" dependency_law_test header_test cpp_headers_test)
dsv4_left_out("read an ELF file; exports_dll_test and install_dll_test stand for them"
              exports_test install_test surface_test two_copies_test package_test packages)
dsv4_left_out("its programs are POSIX" hosts_test)
dsv4_left_out("runs what is built, and reads the docs, as a script" docs_test)
dsv4_left_out("speed under emulation says nothing" bench)
dsv4_left_out("the cuda backend is not built" simt)
dsv4_left_out("their tools are the build machine's" rust go csharp)
