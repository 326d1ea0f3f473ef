# Tests of a build for another system than the one that builds: what is left out, each with its reason, what is only run
# on request, and how a script starts a program of that system. A name is that of a test or of a folder of tests.
set(DSV4_LEFT_OUT "")
function(dsv4_left_out reason)
  set(DSV4_LEFT_OUT ${DSV4_LEFT_OUT} ${ARGN} PARENT_SCOPE)
  list(JOIN ARGN ", " names)
  message(STATUS "tests left out: ${names}: ${reason}")
endfunction()
set(DSV4_LONG "")  # the label "long": minutes each there

if(WIN32)
  dsv4_left_out("make POSIX calls fail by name, through the linker" faults)
  dsv4_left_out("run programs through sh, and look at signals; programs_dll_test does the least of it"
                cli_test samples_test samples_chat_test samples_snapshot_test)
  dsv4_left_out("read an ELF file; exports_dll_test and install_dll_test stand for them"
                exports_test install_test surface_test two_copies_test package_test packages)
  dsv4_left_out("its programs are POSIX" hosts_test)
  dsv4_left_out("runs what is built, and reads the docs, as a script" docs_test)
  dsv4_left_out("the cuda backend is not built" simt)
  list(APPEND DSV4_LONG sequences_test)
endif()

if(CMAKE_CROSSCOMPILING)
  dsv4_left_out("of the tree, the same on every system" dependency_law_test header_test cpp_headers_test)
  dsv4_left_out("speed under emulation says nothing" bench)
  dsv4_left_out("their tools are the build machine's" rust go csharp)
endif()

if(CMAKE_CROSSCOMPILING AND CMAKE_SYSTEM_PROCESSOR STREQUAL "aarch64")
  dsv4_left_out("use the native compiler with what was installed" install_test package_test packages)
  # Thousands of steps of whole models.
  list(APPEND DSV4_LONG rewind_session_test token_scripts_test memory_faults_test verb_faults_test sequences_test
    check_backend_test)
  # Cases of a doctest program that are left out, as its arguments; it counts them as skipped.
  # Files of the published sizes, 150 GB and more without content: qemu keeps a record of every page that is mapped.
  set(DSV4_CASES_checkpoint_test "-tce=checkpoints in the wild*,re-uploads*")
  set(DSV4_CASES_cli_test "-tce=bench *")  # measure speed
endif()

# dsv4_runnable(variable target): sets `variable` to a file by which a script starts `target`.
function(dsv4_runnable variable target)
  if(NOT CMAKE_CROSSCOMPILING_EMULATOR)
    set(${variable} $<TARGET_FILE:${target}> PARENT_SCOPE)
    return()
  endif()
  set(launcher ${PROJECT_BINARY_DIR}/launchers/${target})
  list(JOIN CMAKE_CROSSCOMPILING_EMULATOR " " emulator)
  file(GENERATE OUTPUT ${launcher} CONTENT "#!/bin/sh\nexec ${emulator} '$<TARGET_FILE:${target}>' \"$@\"\n"
       FILE_PERMISSIONS OWNER_READ OWNER_WRITE OWNER_EXECUTE GROUP_READ GROUP_EXECUTE WORLD_READ WORLD_EXECUTE)
  set(${variable} ${launcher} PARENT_SCOPE)
endfunction()
