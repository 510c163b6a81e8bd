! A transport loop in Fortran that asks a surrogate for the Darcy pressure at every step.
!
!   dc/dt + u.grad c + c = c_in,   u = -a grad p,   -div(a grad p) = 1,   a = a0 exp(-c/2)
!
! Fluid enters everywhere, in the left half with a dissolved substance (c_in = 1) that
! makes it more viscous. c: explicit upwind differences on the nodes of the surrogate's
! grid. The package is loaded once; examples/pipelines/fenicsx_loop.py is the same loop.
!
!   transport PACKAGE a0.f32 FOLDER [steps [further calls]]
!
! a0.f32: raw float32 on the grid. Into FOLDER go the fields of the last step, a.f32 and
! p.f32, and c.f32. Further calls show that memory does not grow.
program transport
  use, intrinsic :: iso_c_binding
  use, intrinsic :: iso_fortran_env, only: int64, error_unit
  use opkit
  implicit none

  type(opkit_surrogate) :: surrogate
  type(opkit_tensor) :: tensor
  type(opkit_array), allocatable :: verdict(:)
  real(c_float), allocatable, target :: a0(:, :, :, :), a(:, :, :, :), p(:, :, :, :)
  real(c_float), target :: bound(1), usual(1)
  real(c_float), allocatable :: c(:, :)
  character(:), allocatable :: folder
  integer(c_int) :: status
  integer :: n, m, steps, more, step, unit
  integer(int64) :: start, now, rate, asked, fastest

  if (command_argument_count() < 3) call stop_with('give PACKAGE a0.f32 FOLDER')
  folder = argument(3)
  steps = number(4, 50)
  more = number(5, 0)

  call surrogate%open(argument(1), status)
  if (status /= 0) call stop_with(opkit_message())
  call surrogate%describe(OPKIT_INPUT, 1, tensor, status)
  if (status /= 0) call stop_with(opkit_message())
  if (tensor%count /= 1 .or. tensor%rank /= 4) call stop_with('one field on a plane is meant')
  n = int(tensor%shape(4))  ! of C's (batch, channel, y, x)
  m = int(tensor%shape(3))
  print '(3a, i0, a, i0)', 'input: ', opkit_variables(tensor), ' on ', m, ' x ', n

  allocate (a0(n, m, 1, 1), a(n, m, 1, 1), p(n, m, 1, 1), c(n, m))
  open (newunit=unit, file=argument(2), access='stream', form='unformatted', &
        action='read', status='old', iostat=status)
  if (status /= 0) call stop_with(argument(2)//': cannot be read')
  read (unit, iostat=status) a0
  if (status /= 0) call stop_with(argument(2)//': too short for this grid')
  close (unit)

  c = 0
  asked = 0
  fastest = huge(fastest)
  call system_clock(count_rate=rate)
  do step = 1, steps
    a(:, :, 1, 1) = a0(:, :, 1, 1) * exp(-c / 2)
    call system_clock(start)
    call surrogate%run([array(a)], [array(p)], status)
    call system_clock(now)
    if (status /= 0) call stop_with(opkit_message())
    asked = asked + now - start
    fastest = min(fastest, now - start)
    call advance(c, a(:, :, 1, 1), p(:, :, 1, 1), 0.5 / steps)
  end do
  if (steps > 0) then
    print '(a, f9.3, a, f9.3)', 'milliseconds a call: ', 1e3 * real(asked) / real(rate) / steps, &
      '   the fastest: ', 1e3 * real(fastest) / real(rate)
  end if

  ! The same with a verdict: only the parts that are wanted.
  call surrogate%describe(OPKIT_VERDICT, 1, tensor, status)
  if (status == 0) then
    allocate (verdict(tensor%count))
    verdict(1) = array(bound)
    verdict(2) = array(usual)
    call surrogate%check([array(a)], [array(p)], verdict, status)
    if (status /= 0) call stop_with(opkit_message())
    print '(a, es12.5, a, f3.0)', 'error bound: ', bound(1), '   usual: ', usual(1)
  end if

  if (more > 0) then
    do step = 1, 100  ! buffers that are made once
      call surrogate%run([array(a)], [array(p)], status)
    end do
    start = memory()
    do step = 1, more
      call surrogate%run([array(a)], [array(p)], status)
      if (status /= 0) call stop_with(opkit_message())
    end do
    print '(a, i0)', 'kilobytes more after further calls: ', memory() - start
  end if

  call write_field('a.f32', a(:, :, 1, 1))
  call write_field('p.f32', p(:, :, 1, 1))
  call write_field('c.f32', c)
  call surrogate%close(status)
  if (status /= 0) call stop_with(opkit_message())

contains

  ! One step of dt: upwind differences, the reaction implicit.
  subroutine advance(c, a, p, dt)
    real(c_float), intent(inout) :: c(:, :)
    real(c_float), intent(in) :: a(:, :), p(:, :), dt
    real(c_float) :: old(size(c, 1), size(c, 2)), u, v, dx, dy, slope, inflow
    integer :: i, j, n, m
    n = size(c, 1)
    m = size(c, 2)
    dx = 1.0 / (n - 1)
    dy = 1.0 / (m - 1)
    old = c
    do j = 1, m
      do i = 1, n
        u = -a(i, j) * (p(min(i + 1, n), j) - p(max(i - 1, 1), j)) / (2 * dx)
        v = -a(i, j) * (p(i, min(j + 1, m)) - p(i, max(j - 1, 1))) / (2 * dy)
        slope = max(u, 0.0) * (old(i, j) - old(max(i - 1, 1), j)) / dx &
                + min(u, 0.0) * (old(min(i + 1, n), j) - old(i, j)) / dx &
                + max(v, 0.0) * (old(i, j) - old(i, max(j - 1, 1))) / dy &
                + min(v, 0.0) * (old(i, min(j + 1, m)) - old(i, j)) / dy
        inflow = merge(1.0, 0.0, 2 * (i - 1) < n - 1)
        c(i, j) = (old(i, j) + dt * (inflow - slope)) / (1 + dt)
      end do
    end do
  end subroutine advance

  subroutine write_field(name, field)
    character(*), intent(in) :: name
    real(c_float), intent(in) :: field(:, :)
    integer :: unit
    open (newunit=unit, file=folder//'/'//name, access='stream', form='unformatted', &
          action='write', status='replace', iostat=status)
    if (status /= 0) call stop_with(folder//'/'//name//': cannot be written')
    write (unit) field
    close (unit)
  end subroutine write_field

  ! Memory of this process in kilobytes; 0 where there is no /proc.
  integer(int64) function memory()
    character(80) :: line
    integer :: unit, status
    memory = 0
    open (newunit=unit, file='/proc/self/status', action='read', status='old', &
          iostat=status)
    if (status /= 0) return
    do
      read (unit, '(a)', iostat=status) line
      if (status /= 0) exit
      if (line(1:6) == 'VmRSS:') read (line(7:index(line, 'kB') - 1), *) memory
    end do
    close (unit)
  end function memory

  function argument(k) result(text)
    integer, intent(in) :: k
    character(:), allocatable :: text
    integer :: length
    call get_command_argument(k, length=length)
    allocate (character(length) :: text)
    call get_command_argument(k, text)
  end function argument

  integer function number(k, otherwise)
    integer, intent(in) :: k, otherwise
    integer :: status
    character(:), allocatable :: text
    number = otherwise
    if (command_argument_count() < k) return
    text = argument(k)
    read (text, *, iostat=status) number
    if (status /= 0) call stop_with(text//': give a whole number')
  end function number

  subroutine stop_with(message)
    character(*), intent(in) :: message
    write (error_unit, '(2a)') 'Error: ', message
    stop 2, quiet=.true.
  end subroutine stop_with

end program transport
