# For a Cortex-M without an operating system: gcc-arm-none-eabi and newlib.
set(CMAKE_SYSTEM_NAME Generic)
set(CMAKE_SYSTEM_PROCESSOR arm)
set(CMAKE_C_COMPILER arm-none-eabi-gcc)
set(CMAKE_TRY_COMPILE_TARGET_TYPE STATIC_LIBRARY)
set(CMAKE_TRY_COMPILE_PLATFORM_VARIABLES KD_CPU)

set(KD_CPU cortex-m4 CACHE STRING "processor, such as cortex-m3, cortex-m4 or cortex-m7")
set(CMAKE_C_FLAGS_INIT "-mcpu=${KD_CPU} -mthumb -mfloat-abi=soft")
