/* The equation of one signature as sums of multiples of four points, ready to be added up:
 * [8](d S B - d R - c A) = 0, see half.h. */
#ifndef PLUGINAPI_ED25519_EQUATION_H
#define PLUGINAPI_ED25519_EQUATION_H

#include "recode.h"
#include "scalar25519.h"

/* Digits of R and A are odd and below 2^4, those of the base point below 2^7: eight odd multiples
 * made for each signature, and the table of point.c. */
#define PA_EQUATION_POINT_WIDTH 5
#define PA_EQUATION_BASE_WIDTH 8

/* Four scalars in step, for R, A, B and 2^127 B, with signs: a position where all four digits are 0
 * is seen in one look. */
typedef struct pa_equation {
    int8_t digits[PA_RECODE_DIGITS][4];
} pa_equation;

/* Make the equation of a signature's S and k; k is below L. */
void pa_equation_of(pa_equation *out, const uint8_t s[32], const pa_sc *k);

#endif
