/* Runs a program and writes down which of its functions ran, in the order in which each ran first.
 *
 *   ran LIST PROGRAM ARGUMENT...
 *
 * A breakpoint stands at the beginning of every function that the program's symbol table names, and is taken away when a thread first comes
 * by: each function costs one stop, and everything else runs on the processor as ever. SIGTERM and SIGINT are passed on to the program. It
 * ends as the program does, with 125 if it cannot do its own part. */
#define _GNU_SOURCE
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

enum { FAILED = 125, BREAK = 0xcc };

struct function {
  Elf64_Addr at; /* as linked */
  const char *name;
  unsigned char byte; /* what the breakpoint stands in for */
  char ran;
};

static struct function *functions;
static size_t count;
static volatile pid_t child;

static void fail(const char *what, ...) {
  va_list rest;
  va_start(rest, what);
  fputs("ran: ", stderr);
  vfprintf(stderr, what, rest);
  fputc('\n', stderr);
  exit(FAILED);
}

static void pass_on(int signal) {
  if (child > 0) kill(child, signal);
}

static int by_address(const void *a, const void *b) {
  Elf64_Addr x = ((const struct function *)a)->at, y = ((const struct function *)b)->at;
  return x < y ? -1 : x > y;
}

/* The file as it lies on disk, and its functions by address. */
static const Elf64_Ehdr *read_program(const char *path) {
  struct stat is;
  int file = open(path, O_RDONLY);
  if (file < 0 || fstat(file, &is)) fail("%s: %s", path, strerror(errno));
  const char *bytes = mmap(NULL, is.st_size, PROT_READ, MAP_PRIVATE, file, 0);
  if (bytes == MAP_FAILED) fail("%s: %s", path, strerror(errno));
  close(file);
  const Elf64_Ehdr *elf = (const void *)bytes;
  if (is.st_size < (off_t)sizeof *elf || memcmp(elf->e_ident, ELFMAG, SELFMAG) || elf->e_machine != EM_X86_64)
    fail("%s is no program of x86-64", path);
  const Elf64_Shdr *sections = (const void *)(bytes + elf->e_shoff), *table = NULL;
  for (int i = 0; i < elf->e_shnum; i++)
    if (sections[i].sh_type == SHT_SYMTAB) table = &sections[i];
  if (!table) fail("%s has no symbols", path);
  const Elf64_Sym *symbols = (const void *)(bytes + table->sh_offset);
  const char *names = bytes + sections[table->sh_link].sh_offset;
  size_t most = table->sh_size / sizeof *symbols;
  functions = calloc(most, sizeof *functions);
  if (!functions) fail("no memory");
  for (size_t i = 0; i < most; i++) {
    const Elf64_Sym *s = &symbols[i];
    if (ELF64_ST_TYPE(s->st_info) != STT_FUNC || !s->st_size || s->st_shndx == SHN_UNDEF || s->st_shndx >= elf->e_shnum) continue;
    if (sections[s->st_shndx].sh_flags & SHF_EXECINSTR) functions[count++] = (struct function){.at = s->st_value, .name = names + s->st_name};
  }
  qsort(functions, count, sizeof *functions, by_address);
  return elf;
}

/* The first of the functions that begin there; several names may. */
static struct function *find(Elf64_Addr at) {
  size_t low = 0, high = count;
  while (low < high) {
    size_t middle = low + (high - low) / 2;
    if (functions[middle].at < at) low = middle + 1;
    else high = middle;
  }
  return low < count && functions[low].at == at ? &functions[low] : NULL;
}

/* How far from where it was linked to it lies in memory. */
static Elf64_Addr moved_by(const Elf64_Ehdr *elf) {
  char path[64];
  Elf64_auxv_t entry;
  snprintf(path, sizeof path, "/proc/%d/auxv", child);
  FILE *facts = fopen(path, "r");
  while (facts && fread(&entry, sizeof entry, 1, facts) == 1)
    if (entry.a_type == AT_ENTRY) {
      fclose(facts);
      return entry.a_un.a_val - elf->e_entry;
    }
  fail("where the program lies is not known");
  return 0;
}

static void set_breakpoints(const Elf64_Ehdr *elf, int memory, Elf64_Addr moved) {
  const Elf64_Phdr *parts = (const void *)((const char *)elf + elf->e_phoff);
  for (int i = 0; i < elf->e_phnum; i++) {
    if (parts[i].p_type != PT_LOAD || !(parts[i].p_flags & PF_X)) continue;
    Elf64_Addr from = parts[i].p_vaddr, size = parts[i].p_filesz;
    unsigned char *text = malloc(size);
    if (!text || pread(memory, text, size, moved + from) != (ssize_t)size) fail("the program's text cannot be read");
    for (size_t f = 0; f < count; f++) {
      if (functions[f].at < from || functions[f].at >= from + size) continue;
      /* Of several names of one place, the first has the byte that was there. */
      if (f && functions[f].at == functions[f - 1].at) continue;
      functions[f].byte = text[functions[f].at - from];
      text[functions[f].at - from] = BREAK;
    }
    if (pwrite(memory, text, size, moved + from) != (ssize_t)size) fail("breakpoints cannot be set: %s", strerror(errno));
    free(text);
  }
}

/* Whether that stop was one of ours; then the thread goes on as if nothing had been. */
static int came_by(pid_t thread, int memory, Elf64_Addr moved, FILE *list) {
  struct user_regs_struct registers;
  if (ptrace(PTRACE_GETREGS, thread, NULL, &registers)) return 0;
  Elf64_Addr at = registers.rip - 1 - moved;
  struct function *function = find(at);
  if (!function) return 0;
  /* Two threads may have come at once: the second has only to go back. */
  if (!function->ran) {
    if (pwrite(memory, &function->byte, 1, moved + at) != 1) fail("a breakpoint cannot be taken away: %s", strerror(errno));
    function->ran = 1;
    for (struct function *name = function; name < functions + count && name->at == at; name++) fprintf(list, "%s\n", name->name);
  }
  registers.rip--;
  ptrace(PTRACE_SETREGS, thread, NULL, &registers);
  return 1;
}

int main(int arguments, char **argument) {
  if (arguments < 3) return 64;
  const Elf64_Ehdr *elf = read_program(argument[2]);
  FILE *list = fopen(argument[1], "w");
  if (!list) fail("%s: %s", argument[1], strerror(errno));
  struct sigaction action = {.sa_handler = pass_on, .sa_flags = SA_RESTART};
  sigaction(SIGTERM, &action, NULL);
  sigaction(SIGINT, &action, NULL);

  int status;
  child = fork();
  if (child < 0) fail("fork: %s", strerror(errno));
  if (!child) {
    if (ptrace(PTRACE_TRACEME, 0, NULL, NULL)) fail("ptrace: %s", strerror(errno));
    execv(argument[2], argument + 2);
    fail("%s: %s", argument[2], strerror(errno));
  }
  if (waitpid(child, &status, 0) != child || !WIFSTOPPED(status)) fail("%s was not started", argument[2]);
  if (ptrace(PTRACE_SETOPTIONS, child, NULL, PTRACE_O_TRACECLONE | PTRACE_O_EXITKILL)) fail("ptrace: %s", strerror(errno));
  char path[64];
  snprintf(path, sizeof path, "/proc/%d/mem", child);
  int memory = open(path, O_RDWR);
  if (memory < 0) fail("%s: %s", path, strerror(errno));
  Elf64_Addr moved = moved_by(elf);
  set_breakpoints(elf, memory, moved);
  ptrace(PTRACE_CONT, child, NULL, NULL);

  pid_t thread;
  while ((thread = waitpid(-1, &status, __WALL)) > 0) {
    if (!WIFSTOPPED(status)) {
      if (thread == child) break;
      continue;
    }
    long signal = WSTOPSIG(status);
    /* A thread that was just made begins with SIGSTOP; the stop of the one that made it is a SIGTRAP with an event. */
    if (signal == SIGSTOP || status >> 16 || (signal == SIGTRAP && came_by(thread, memory, moved, list))) signal = 0;
    ptrace(PTRACE_CONT, thread, NULL, signal);
  }
  if (fclose(list)) fail("%s: %s", argument[1], strerror(errno));
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
