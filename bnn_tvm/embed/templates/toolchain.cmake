# ${title}
set(CMAKE_SYSTEM_NAME ${system})
set(CMAKE_SYSTEM_PROCESSOR ${processor})
set(CMAKE_C_COMPILER ${compiler})
# Nothing can be linked before a board's files are at hand.
set(CMAKE_TRY_COMPILE_TARGET_TYPE STATIC_LIBRARY)
