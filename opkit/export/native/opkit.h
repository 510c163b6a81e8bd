/* Surrogates of opkit from C, C++ and Fortran: an AOTInductor package as a function.
 *
 *   opkit export RUN --to aoti [--derivatives]
 *
 * Every function returns 0 or one of the codes below, and then opkit_error gives one
 * line that names the remedy. Nothing ends the host's process. Functions may be called
 * by several threads at once; calls of one surrogate wait for one another.
 *
 * Arrays are the host's own and are read and written where they lie. Their shapes are
 * in the order of C, (batch, channel, y, x), last axis fastest: of an array of Fortran,
 * which is (x, y, channel, batch) there, the same bytes.
 *
 * See docs/native.md.
 */
#ifndef OPKIT_H
#define OPKIT_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define OPKIT_INTERFACE 2 /* version of this file, and of what a package says of itself */
#define OPKIT_RANK 8      /* axes at most */
#define OPKIT_TEXT 256    /* bytes of a text, its end included */

#if defined(__GNUC__)
#define OPKIT_API __attribute__((visibility("default")))
#else
#define OPKIT_API
#endif

enum {
  OPKIT_OK = 0,
  OPKIT_NO_FILE = 1,    /* missing, or not readable */
  OPKIT_PACKAGE = 2,    /* damaged, or of another version of opkit or torch */
  OPKIT_HANDLE = 3,     /* closed, or never opened */
  OPKIT_ARGUMENT = 4,   /* wrong number, shape or type of arrays, or a null pointer */
  OPKIT_NOT_FINITE = 5, /* NaN or infinity, in an input or in a prediction */
  OPKIT_ABSENT = 6,     /* the package holds no verdict, or no derivatives */
  OPKIT_FAILED = 7      /* anything else, such as too little memory */
};

enum { OPKIT_FLOAT32 = 1, OPKIT_FLOAT64 = 2 };            /* types of arrays */
enum { OPKIT_INPUT = 1, OPKIT_OUTPUT = 2, OPKIT_VERDICT = 3 }; /* what to describe */

typedef struct {
  void *data;
  int32_t type; /* OPKIT_FLOAT32 is what packages take and give */
  int32_t rank;
  int64_t shape[OPKIT_RANK];
} opkit_array;

typedef struct {
  char name[OPKIT_TEXT];
  char variables[OPKIT_TEXT]; /* along the second axis: "velocity 2 m/s, pressure 1 Pa" */
  int32_t rank;
  int32_t count;             /* how many inputs, outputs or parts of a verdict there are */
  int64_t shape[OPKIT_RANK]; /* first 0 where any batch is taken */
} opkit_tensor;

/* Load a package; the handle stands for it until it is closed. */
OPKIT_API int opkit_open(const char *path, int64_t *handle);

/* Say what the package takes and gives: the index-th, from 0, of its inputs, outputs or
 * parts of its verdict. */
OPKIT_API int opkit_describe(int64_t handle, int32_t what, int32_t index, opkit_tensor *tensor);

/* Predict. Inputs and outputs in the order of opkit_describe, all of one batch. */
OPKIT_API int opkit_run(int64_t handle, const opkit_array *inputs, int32_t count,
              opkit_array *outputs, int32_t results);

/* Predict, and judge: parts of the verdict in the order of opkit_describe, (batch) or
 * (batch, variable). One whose data are a null pointer is left out. */
OPKIT_API int opkit_check(int64_t handle, const opkit_array *inputs, int32_t count,
                opkit_array *outputs, int32_t results, opkit_array *verdict, int32_t parts);

/* Derivatives, of packages that were exported with them: the product of the Jacobian
 * with a direction of each input, and of its transpose with weights of each output. They
 * take one sample at once, or the batch that the package was made for. */
OPKIT_API int opkit_jvp(int64_t handle, const opkit_array *inputs, const opkit_array *directions,
              int32_t count, opkit_array *products, int32_t results);
OPKIT_API int opkit_vjp(int64_t handle, const opkit_array *inputs, int32_t count,
              const opkit_array *weights, int32_t results, opkit_array *gradients);

/* Copy what the last call of this thread that failed said; at most room bytes. */
OPKIT_API int opkit_error(char *text, int64_t room);

/* Close a surrogate and free its memory. */
OPKIT_API int opkit_close(int64_t handle);

#ifdef __cplusplus
}
#endif
#endif
