/* Gives a process another time of day, and whatever it starts: loaded before libc, CLOCK_SHIFT_SECONDS says how far it is ahead.
 *
 * Time goes on as it does, monotonic clocks and what is waited for stay as they are. Deadlines by the time of day are reckoned
 * back before the kernel hears of them. Where CLOCK_SHIFT_FILE names a file, its first eight bytes say how far instead: who
 * writes there moves the clocks of all who run with it at once. (libfaketime does the same and more, but not for cnd_timedwait, by which librdkafka
 * waits: there it waits for as long as the clock is ahead.) What asks the kernel without libc, as Go does, is not deceived.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <threads.h>
#include <time.h>
#include <unistd.h>

#define REAL(name) static __typeof__(name) *real; if (!real) real = (__typeof__(name) *)dlsym(RTLD_NEXT, #name)

/* No machine has run for thirty years: what lies further off is by the time of day. */
#define BY_TIME_OF_DAY(at) ((at)->tv_sec > 1000000000)

static time_t shift_seconds(void) {
    static volatile const int64_t *said;
    static time_t seconds;
    static int known;
    if (!known) {
        int before = errno;
        const char *text = getenv("CLOCK_SHIFT_SECONDS"), *path = getenv("CLOCK_SHIFT_FILE");
        int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
        void *mapped = file < 0 ? MAP_FAILED : mmap(NULL, sizeof *said, PROT_READ, MAP_SHARED, file, 0);
        if (file >= 0) close(file);
        if (mapped != MAP_FAILED) said = mapped;
        seconds = text ? atoll(text) : 0;
        known = 1;
        errno = before;
    }
    return said ? *said : seconds;
}

static int of_day(clockid_t clock) { return clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE; }

/* A deadline as the kernel has it. */
static struct timespec in_truth(const struct timespec *at) {
    struct timespec meant = *at;
    if (BY_TIME_OF_DAY(at)) meant.tv_sec -= shift_seconds();
    return meant;
}

static clockid_t clock_of(const struct timespec *at) { return BY_TIME_OF_DAY(at) ? CLOCK_REALTIME : CLOCK_MONOTONIC; }

int clock_gettime(clockid_t clock, struct timespec *now) {
    REAL(clock_gettime);
    int failed = real(clock, now);
    if (!failed && of_day(clock)) now->tv_sec += shift_seconds();
    return failed;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    (void)zone;
    struct timespec exact;
    clock_gettime(CLOCK_REALTIME, &exact);
    now->tv_sec = exact.tv_sec;
    now->tv_usec = exact.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *now) {
    struct timespec exact;
    clock_gettime(CLOCK_REALTIME, &exact);
    if (now) *now = exact.tv_sec;
    return exact.tv_sec;
}

int timespec_get(struct timespec *now, int base) {
    return base == TIME_UTC && !clock_gettime(CLOCK_REALTIME, now) ? base : 0;
}

int pthread_cond_clockwait(pthread_cond_t *condition, pthread_mutex_t *mutex, clockid_t clock, const struct timespec *until) {
    REAL(pthread_cond_clockwait);
    struct timespec meant = in_truth(until);
    return real(condition, mutex, clock, &meant);
}

int pthread_cond_timedwait(pthread_cond_t *condition, pthread_mutex_t *mutex, const struct timespec *until) {
    return pthread_cond_clockwait(condition, mutex, clock_of(until), until);
}

int cnd_timedwait(cnd_t *condition, mtx_t *mutex, const struct timespec *until) {
    int failed = pthread_cond_timedwait((pthread_cond_t *)condition, (pthread_mutex_t *)mutex, until);
    return failed == ETIMEDOUT ? thrd_timedout : failed ? thrd_error : thrd_success;
}

int pthread_mutex_clocklock(pthread_mutex_t *mutex, clockid_t clock, const struct timespec *until) {
    REAL(pthread_mutex_clocklock);
    struct timespec meant = in_truth(until);
    return real(mutex, clock, &meant);
}

int pthread_mutex_timedlock(pthread_mutex_t *mutex, const struct timespec *until) {
    return pthread_mutex_clocklock(mutex, CLOCK_REALTIME, until);
}

int mtx_timedlock(mtx_t *mutex, const struct timespec *until) {
    int failed = pthread_mutex_timedlock((pthread_mutex_t *)mutex, until);
    return failed == ETIMEDOUT ? thrd_timedout : failed ? thrd_error : thrd_success;
}

int sem_clockwait(sem_t *semaphore, clockid_t clock, const struct timespec *until) {
    REAL(sem_clockwait);
    struct timespec meant = in_truth(until);
    return real(semaphore, clock, &meant);
}

int sem_timedwait(sem_t *semaphore, const struct timespec *until) { return sem_clockwait(semaphore, CLOCK_REALTIME, until); }

int clock_nanosleep(clockid_t clock, int flags, const struct timespec *until, struct timespec *left) {
    REAL(clock_nanosleep);
    struct timespec meant = flags & TIMER_ABSTIME ? in_truth(until) : *until;
    return real(clock, flags, &meant, left);
}
