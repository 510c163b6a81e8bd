! Surrogates of opkit from Fortran: the interface of opkit.h, and arrays as they lie.
!
!   use opkit
!   call surrogate%open('model-aoti.pt2', status)
!   call surrogate%run([array(permeability)], [array(pressure)], status)
!   if (status /= 0) print *, opkit_message()
!
! An array (x, y, channel, batch) of real(c_float) has the bytes of C's
! (batch, channel, y, x): nothing is transposed or copied. Arrays must be contiguous and
! have the attribute target. See docs/native.md.
module opkit
  use, intrinsic :: iso_c_binding
  implicit none
  private
  public :: opkit_array, opkit_tensor, opkit_surrogate, array, opkit_message
  public :: opkit_name, opkit_variables

  integer(c_int), parameter, public :: OPKIT_OK = 0, OPKIT_NO_FILE = 1, &
    OPKIT_PACKAGE = 2, OPKIT_HANDLE = 3, OPKIT_ARGUMENT = 4, OPKIT_NOT_FINITE = 5, &
    OPKIT_ABSENT = 6, OPKIT_FAILED = 7
  integer(c_int32_t), parameter, public :: OPKIT_FLOAT32 = 1, OPKIT_FLOAT64 = 2
  integer(c_int32_t), parameter, public :: OPKIT_INPUT = 1, OPKIT_OUTPUT = 2, &
    OPKIT_VERDICT = 3
  integer, parameter :: RANKS = 8, LENGTH = 256

  type, bind(C) :: opkit_array
    type(c_ptr) :: data = c_null_ptr
    integer(c_int32_t) :: type = 0, rank = 0
    integer(c_int64_t) :: shape(RANKS) = 0
  end type opkit_array

  type, bind(C) :: opkit_tensor
    character(kind=c_char) :: name(LENGTH), variables(LENGTH)
    integer(c_int32_t) :: rank = 0, count = 0
    integer(c_int64_t) :: shape(RANKS) = 0  ! in the order of C
  end type opkit_tensor

  type :: opkit_surrogate
    integer(c_int64_t) :: handle = 0
  contains
    procedure :: open => open_package
    procedure :: describe
    procedure :: run
    procedure :: check
    procedure :: jvp
    procedure :: vjp
    procedure :: close => close_package
  end type opkit_surrogate

  interface array  ! where an array lies, and its shape
    module procedure array_float, array_double
  end interface array

  interface
    function c_open(path, handle) bind(C, name='opkit_open') result(status)
      import :: c_char, c_int, c_int64_t
      character(kind=c_char), intent(in) :: path(*)
      integer(c_int64_t), intent(out) :: handle
      integer(c_int) :: status
    end function c_open
    function c_describe(handle, what, index, tensor) bind(C, name='opkit_describe') &
        result(status)
      import :: c_int, c_int32_t, c_int64_t, opkit_tensor
      integer(c_int64_t), value :: handle
      integer(c_int32_t), value :: what, index
      type(opkit_tensor), intent(out) :: tensor
      integer(c_int) :: status
    end function c_describe
    function c_run(handle, inputs, count, outputs, results) &
        bind(C, name='opkit_run') result(status)
      import :: c_int, c_int32_t, c_int64_t, opkit_array
      integer(c_int64_t), value :: handle
      type(opkit_array), intent(in) :: inputs(*), outputs(*)
      integer(c_int32_t), value :: count, results
      integer(c_int) :: status
    end function c_run
    function c_check(handle, inputs, count, outputs, results, verdict, parts) &
        bind(C, name='opkit_check') result(status)
      import :: c_int, c_int32_t, c_int64_t, opkit_array
      integer(c_int64_t), value :: handle
      type(opkit_array), intent(in) :: inputs(*), outputs(*), verdict(*)
      integer(c_int32_t), value :: count, results, parts
      integer(c_int) :: status
    end function c_check
    function c_jvp(handle, inputs, directions, count, products, results) &
        bind(C, name='opkit_jvp') result(status)
      import :: c_int, c_int32_t, c_int64_t, opkit_array
      integer(c_int64_t), value :: handle
      type(opkit_array), intent(in) :: inputs(*), directions(*), products(*)
      integer(c_int32_t), value :: count, results
      integer(c_int) :: status
    end function c_jvp
    function c_vjp(handle, inputs, count, weights, results, gradients) &
        bind(C, name='opkit_vjp') result(status)
      import :: c_int, c_int32_t, c_int64_t, opkit_array
      integer(c_int64_t), value :: handle
      type(opkit_array), intent(in) :: inputs(*), weights(*), gradients(*)
      integer(c_int32_t), value :: count, results
      integer(c_int) :: status
    end function c_vjp
    function c_error(text, room) bind(C, name='opkit_error') result(status)
      import :: c_char, c_int, c_int64_t
      character(kind=c_char), intent(out) :: text(*)
      integer(c_int64_t), value :: room
      integer(c_int) :: status
    end function c_error
    function c_close(handle) bind(C, name='opkit_close') result(status)
      import :: c_int, c_int64_t
      integer(c_int64_t), value :: handle
      integer(c_int) :: status
    end function c_close
  end interface

contains

  subroutine open_package(self, path, status)
    class(opkit_surrogate), intent(inout) :: self
    character(*), intent(in) :: path
    integer(c_int), intent(out) :: status
    status = c_open(trim(path)//c_null_char, self%handle)
  end subroutine open_package

  ! The index-th, from 1, of the inputs, outputs or parts of the verdict.
  subroutine describe(self, what, index, tensor, status)
    class(opkit_surrogate), intent(in) :: self
    integer(c_int32_t), intent(in) :: what, index
    type(opkit_tensor), intent(out) :: tensor
    integer(c_int), intent(out) :: status
    status = c_describe(self%handle, what, index - 1_c_int32_t, tensor)
  end subroutine describe

  subroutine run(self, inputs, outputs, status)
    class(opkit_surrogate), intent(in) :: self
    type(opkit_array), intent(in) :: inputs(:), outputs(:)
    integer(c_int), intent(out) :: status
    status = c_run(self%handle, inputs, size(inputs, kind=c_int32_t), outputs, &
                   size(outputs, kind=c_int32_t))
  end subroutine run

  subroutine check(self, inputs, outputs, verdict, status)
    class(opkit_surrogate), intent(in) :: self
    type(opkit_array), intent(in) :: inputs(:), outputs(:), verdict(:)
    integer(c_int), intent(out) :: status
    status = c_check(self%handle, inputs, size(inputs, kind=c_int32_t), outputs, &
                     size(outputs, kind=c_int32_t), verdict, &
                     size(verdict, kind=c_int32_t))
  end subroutine check

  subroutine jvp(self, inputs, directions, products, status)
    class(opkit_surrogate), intent(in) :: self
    type(opkit_array), intent(in) :: inputs(:), directions(size(inputs)), products(:)
    integer(c_int), intent(out) :: status
    status = c_jvp(self%handle, inputs, directions, size(inputs, kind=c_int32_t), &
                   products, size(products, kind=c_int32_t))
  end subroutine jvp

  subroutine vjp(self, inputs, weights, gradients, status)
    class(opkit_surrogate), intent(in) :: self
    type(opkit_array), intent(in) :: inputs(:), weights(:), gradients(size(inputs))
    integer(c_int), intent(out) :: status
    status = c_vjp(self%handle, inputs, size(inputs, kind=c_int32_t), weights, &
                   size(weights, kind=c_int32_t), gradients)
  end subroutine vjp

  subroutine close_package(self, status)
    class(opkit_surrogate), intent(inout) :: self
    integer(c_int), intent(out) :: status
    status = c_close(self%handle)
  end subroutine close_package

  function array_float(values) result(description)
    real(c_float), intent(in), target, contiguous :: values(..)
    type(opkit_array) :: description
    description = described(c_loc(values), OPKIT_FLOAT32, shape(values, kind=c_int64_t))
  end function array_float

  ! What packages do not take: they say so, in place of reading half of each number.
  function array_double(values) result(description)
    real(c_double), intent(in), target, contiguous :: values(..)
    type(opkit_array) :: description
    description = described(c_loc(values), OPKIT_FLOAT64, shape(values, kind=c_int64_t))
  end function array_double

  function described(data, kind, extent) result(description)
    type(c_ptr), intent(in) :: data
    integer(c_int32_t), intent(in) :: kind
    integer(c_int64_t), intent(in) :: extent(:)
    type(opkit_array) :: description
    integer :: k
    description%data = data
    description%type = kind
    description%rank = size(extent, kind=c_int32_t)
    do k = 1, min(size(extent), RANKS)
      description%shape(k) = extent(size(extent) + 1 - k)
    end do
  end function described

  ! What the last call that failed said.
  function opkit_message() result(message)
    character(:), allocatable :: message
    character(kind=c_char) :: buffer(4 * LENGTH)
    integer(c_int) :: status
    status = c_error(buffer, size(buffer, kind=c_int64_t))
    message = plain(buffer)
  end function opkit_message

  function opkit_name(tensor) result(text)
    type(opkit_tensor), intent(in) :: tensor
    character(:), allocatable :: text
    text = plain(tensor%name)
  end function opkit_name

  function opkit_variables(tensor) result(text)
    type(opkit_tensor), intent(in) :: tensor
    character(:), allocatable :: text
    text = plain(tensor%variables)
  end function opkit_variables

  function plain(buffer) result(text)
    character(kind=c_char), intent(in) :: buffer(:)
    character(:), allocatable :: text
    integer :: k
    text = ''
    do k = 1, size(buffer)
      if (buffer(k) == c_null_char) exit
      text = text//buffer(k)
    end do
  end function plain

end module opkit
