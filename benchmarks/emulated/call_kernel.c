/* Calls one compiled kernel, KERNEL, on arrays from files; needs no runtime of TVM.
 *
 *     call_kernel CALLS [=|+]CODE,BITS,EXTENT...:PATH ...
 *
 * An argument with = is read from its file, one with + is written to it; CODE and BITS are DLPack's.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <dlpack/dlpack.h>
#include <tvm/ffi/c_api.h>

enum { MOST_ARGUMENTS = 64, MOST_AXES = 8, ALIGNMENT = 64 };

typedef struct {
    DLTensor tensor;
    int64_t shape[MOST_AXES];
    size_t bytes;
    const char *path;
    int is_output;
} Argument;

int KERNEL(void *self, const TVMFFIAny *args, int32_t count, TVMFFIAny *result);

static void fail(const char *what, const char *name)
{
    fprintf(stderr, "call_kernel: %s %s\n", what, name);
    exit(1);
}

/* What kernels ask of the runtime. The pointers are weak in the kernel's object. */
void TVMFFIErrorSetRaisedFromCStrParts(const char *kind, const char **parts, int32_t count)
{
    fprintf(stderr, "call_kernel: %s: ", kind);
    for (int32_t i = 0; i < count; ++i)
        fputs(parts[i], stderr);
    fail("", "");
}

static void *allocate(int type, int id, uint64_t bytes, int code, int bits)
{
    (void)type, (void)id, (void)code, (void)bits;
    return aligned_alloc(ALIGNMENT, (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT);
}

static int release(int type, int id, void *memory)
{
    (void)type, (void)id;
    free(memory);
    return 0;
}

typedef struct {
    void *sync_handle;
    int32_t num_task;
} Threads;

typedef int (*Task)(int task, Threads *threads, void *data);

static int run_alone(Task task, void *data, int wanted)
{
    (void)wanted;
    Threads threads = {NULL, 1};
    return task(0, &threads, data);
}

void *(*__TVMBackendAllocWorkspace)(int, int, uint64_t, int, int) = allocate;
int (*__TVMBackendFreeWorkspace)(int, int, void *) = release;
int (*__TVMBackendParallelLaunch)(Task, void *, int) = run_alone;

static void read_file(Argument *arg)
{
    FILE *file = fopen(arg->path, "rb");
    if (!file || fread(arg->tensor.data, 1, arg->bytes, file) != arg->bytes)
        fail("cannot read", arg->path);
    fclose(file);
}

static void write_file(const Argument *arg)
{
    FILE *file = fopen(arg->path, "wb");
    if (!file || fwrite(arg->tensor.data, 1, arg->bytes, file) != arg->bytes || fclose(file))
        fail("cannot write", arg->path);
}

static void parse(Argument *arg, char *text)
{
    char *path = strchr(text, ':');
    if (!path)
        fail("no path in", text);
    *path = '\0';
    *arg = (Argument){.path = path + 1, .is_output = text[0] == '+'};
    DLTensor *tensor = &arg->tensor;
    char *end = text;
    tensor->dtype.code = (uint8_t)strtol(end + 1, &end, 10);
    tensor->dtype.bits = (uint8_t)strtol(end + 1, &end, 10);
    tensor->dtype.lanes = 1;
    tensor->device.device_type = kDLCPU;
    tensor->shape = arg->shape;
    arg->bytes = tensor->dtype.bits / 8;
    while (*end == ',' && tensor->ndim < MOST_AXES)
        arg->bytes *= (size_t)(arg->shape[tensor->ndim++] = strtol(end + 1, &end, 10));
    tensor->data = allocate(0, 0, arg->bytes, 0, 0);
    if (!arg->is_output)
        read_file(arg);
}

int main(int argc, char **argv)
{
    static Argument arguments[MOST_ARGUMENTS];
    static TVMFFIAny values[MOST_ARGUMENTS];
    int count = argc - 2;
    if (count < 1 || count > MOST_ARGUMENTS)
        fail("wrong number of arguments to", argv[0]);
    for (int i = 0; i < count; ++i) {
        parse(&arguments[i], argv[i + 2]);
        values[i].type_index = kTVMFFIDLTensorPtr;
        values[i].v_ptr = &arguments[i].tensor;
    }
    for (int calls = atoi(argv[1]); calls > 0; --calls) {
        TVMFFIAny result = {0};
        if (KERNEL(NULL, values, count, &result))
            fail("error from", "the kernel");
    }
    for (int i = 0; i < count; ++i)
        if (arguments[i].is_output)
            write_file(&arguments[i]);
    return 0;
}
