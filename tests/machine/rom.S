/* The end of the ROM of an emulated PC without a BIOS: from the reset vector to a 64-bit program, with
 * the register sets of AVX-512 switched on. The program, of PROGRAM_SIZE bytes, lies in the ROM just
 * below and is copied to 1 MiB. 64 KiB, at whose end is the reset vector (Intel SDM volume 3, 10.1.4);
 * CS begins there with the base 0xffff0000. */
#define ROM 0xffff0000
#define LINEAR(label) (ROM + (label) - rom)
#define PML4 0x10000
#define PROGRAM 0x100000
#define STACK_TOP 0x08000000

    .text
    .globl rom
rom:
    .code16
start:
    cli
    movb $2, %al                /* address line 20 */
    outb %al, $0x92
    lgdtl %cs:(gdt_pointer - rom)
    movl %cr0, %eax
    orl $1, %eax                /* PE */
    movl %eax, %cr0
    ljmpl $8, $LINEAR(protected)

    .code32
protected:
    movw $16, %ax
    movw %ax, %ds
    movw %ax, %es
    movw %ax, %ss
    /* Page tables: the first 4 GiB as they are, in pages of 2 MiB. */
    movl $PML4, %edi
    xorl %eax, %eax
    movl $(6 * 4096 / 4), %ecx
    rep stosl
    movl $(PML4 + 0x1003), PML4
    movl $(PML4 + 0x2003), PML4 + 0x1000
    movl $(PML4 + 0x3003), PML4 + 0x1008
    movl $(PML4 + 0x4003), PML4 + 0x1010
    movl $(PML4 + 0x5003), PML4 + 0x1018
    movl $(PML4 + 0x2000), %edi
    movl $0x83, %eax            /* present, writable, large */
    movl $2048, %ecx
1:  movl %eax, (%edi)
    addl $8, %edi
    addl $0x200000, %eax
    loop 1b
    movl $PML4, %eax
    movl %eax, %cr3
    movl $0x40620, %eax         /* PAE, OSFXSR, OSXMMEXCPT, OSXSAVE */
    movl %eax, %cr4
    movl $0xc0000080, %ecx      /* EFER.LME */
    rdmsr
    orl $0x100, %eax
    wrmsr
    movl $0x80000033, %eax      /* PG, NE, ET, MP, PE */
    movl %eax, %cr0
    ljmpl $24, $LINEAR(long_mode)

    .code64
long_mode:
    xorl %ecx, %ecx             /* XCR0: x87, SSE, AVX, and the three of AVX-512 */
    xorl %edx, %edx
    movl $0xe7, %eax
    xsetbv
    movl $(ROM - PROGRAM_SIZE), %esi
    movl $PROGRAM, %edi
    movl $PROGRAM_SIZE, %ecx
    rep movsb
    movl $STACK_TOP, %esp
    movl $PROGRAM, %eax
    call *%rax
    hlt

    .balign 8
gdt:
    .quad 0
    .quad 0x00cf9a000000ffff    /* 8: 32-bit code */
    .quad 0x00cf92000000ffff    /* 16: data */
    .quad 0x00af9a000000ffff    /* 24: 64-bit code */
gdt_pointer:
    .word . - gdt - 1
    .long LINEAR(gdt)

    .org 0xfff0
    .code16
    jmp start
    .org 0x10000
